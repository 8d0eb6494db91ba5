//! The way of a build's events and of its steps' lines: into the record first, then to whoever listens. Nobody hears of
//! anything that is not on record.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::Utc;
use hm_plugin_protocol::{BuildEvent, StdStream};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Recorder, StepLog};
use crate::cache::StepDecision;

/// Writer of all events of a build. Clones write to the same record and the same listeners.
#[derive(Debug, Clone)]
pub struct EventWriter {
    recorder: Option<Arc<Recorder>>,
    listeners: mpsc::Sender<BuildEvent>,
}

impl EventWriter {
    /// Writer to a record, if there is one, and to whoever receives these events. The channel is bounded: who writes
    /// waits for who listens.
    #[must_use]
    pub fn new(recorder: Option<Arc<Recorder>>, listeners: mpsc::Sender<BuildEvent>) -> Self {
        Self { recorder, listeners }
    }

    /// Records an event, then sends it.
    pub async fn write(&self, event: BuildEvent) {
        if let Some(recorder) = &self.recorder {
            recorder.event(&event);
        }
        // A closed channel means that nobody listens any more: there is no one to tell.
        let _ = self.listeners.send(event).await;
    }

    /// Records the cache's decision about a step, which is no event.
    pub fn decision(&self, decision: &StepDecision) {
        if let Some(recorder) = &self.recorder {
            recorder.decision(decision);
        }
    }

    /// Writer of a step's lines, with a log in the record. `number` is the step's position in the plan.
    #[must_use]
    pub fn of_step(&self, step_id: Uuid, number: usize, key: &str) -> StepWriter {
        let log = self.recorder.as_ref().and_then(|recorder| recorder.log(number, key));
        StepWriter { step_id, log, listeners: self.listeners.clone() }
    }
}

/// Writer of the lines of one step.
#[derive(Debug)]
pub struct StepWriter {
    step_id: Uuid,
    log: Option<StepLog>,
    listeners: mpsc::Sender<BuildEvent>,
}

impl StepWriter {
    /// Writer for an instance that nobody listens to.
    #[must_use]
    pub fn unheard(step_id: Uuid) -> Self {
        Self { step_id, log: None, listeners: mpsc::channel(1).0 }
    }

    /// Writes lines to the log, then sends each as an event.
    pub async fn lines(&mut self, stream: StdStream, lines: Vec<String>) {
        let ts = Utc::now();
        if let Some(log) = &mut self.log {
            lines.iter().for_each(|line| log.line(stream, ts, line));
            log.flush();
        }
        for line in lines {
            let event = BuildEvent::StepLog { step_id: self.step_id, stream, line, ts };
            let _ = self.listeners.send(event).await;
        }
    }

    /// Completes the log: its path, if it is whole.
    pub fn finish(&mut self) -> Option<PathBuf> {
        self.log.take().and_then(StepLog::finish)
    }
}
