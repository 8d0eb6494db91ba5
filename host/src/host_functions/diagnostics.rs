//! The way of plugins' diagnostics to whoever shows them. It is bounded: a plugin that floods it waits, or loses lines,
//! and neither blocks the program nor fills its memory.

use std::sync::Arc;

use hm_plugin_protocol::Level;
use tokio::sync::mpsc;

/// How many lines may wait to be shown.
const WAITING: usize = 256;

/// How many bytes one instance may say in its life.
const MAX_SAID: usize = 1 << 20;

/// A line for whoever debugs a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How important it is.
    pub level: Level,
    /// Who says it.
    pub plugin: Arc<str>,
    /// What; may be anything.
    pub text: String,
}

/// Takes diagnostics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    threshold: Level,
    sender: mpsc::Sender<Diagnostic>,
}

/// What one instance has said so far.
#[derive(Debug, Default)]
pub struct Said(usize);

impl Diagnostics {
    /// A way for what is at least this important, and its other end. The other end sees the end of the stream once all
    /// plugins are gone.
    #[must_use]
    pub fn new(threshold: Level) -> (Self, mpsc::Receiver<Diagnostic>) {
        Self::with_room(threshold, 0)
    }

    /// The same, with room for so many lines of those who cannot wait.
    #[must_use]
    pub fn with_room(threshold: Level, lines: usize) -> (Self, mpsc::Receiver<Diagnostic>) {
        let (sender, receiver) = mpsc::channel(WAITING + lines);
        (Self { threshold, sender }, receiver)
    }

    /// Hands a line on, and waits until there is room for it.
    pub async fn say(&self, said: &mut Said, level: Level, plugin: &Arc<str>, text: &str) {
        if let Some(diagnostic) = self.wanted(said, level, plugin, text) {
            // Nobody listens any more when the program is about to end.
            let _ = self.sender.send(diagnostic).await;
        }
    }

    /// Hands a line on if there is room for it.
    pub fn try_say(&self, level: Level, plugin: &Arc<str>, text: &str) {
        if let Some(diagnostic) = self.wanted(&mut Said::default(), level, plugin, text) {
            // The ABI has capped and counted it already; what is lost here is a flood.
            let _ = self.sender.try_send(diagnostic);
        }
    }

    fn wanted(&self, said: &mut Said, level: Level, plugin: &Arc<str>, text: &str) -> Option<Diagnostic> {
        if level < self.threshold || said.0 > MAX_SAID {
            return None;
        }
        // An empty line costs the reader something too.
        said.0 += text.len() + 1;
        let text = if said.0 > MAX_SAID { "(it says too much; the rest is dropped)" } else { text };
        Some(Diagnostic { level, plugin: plugin.clone(), text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_is_cut_and_what_nobody_wants_costs_nothing() {
        let (diagnostics, mut receiver) = Diagnostics::new(Level::Warn);
        let plugin: Arc<str> = "p".into();
        let mut said = Said::default();
        diagnostics.say(&mut said, Level::Info, &plugin, "quiet").await;
        for _ in 0..100 {
            diagnostics.say(&mut said, Level::Warn, &plugin, &"x".repeat(100_000)).await;
        }
        diagnostics.try_say(Level::Error, &plugin, "another");
        drop(diagnostics);
        let mut texts = Vec::new();
        while let Some(diagnostic) = receiver.recv().await {
            texts.push(diagnostic.text);
        }
        assert_eq!(texts.len(), 12, "ten in full, one notice, one of another instance");
        assert_eq!(texts[10], "(it says too much; the rest is dropped)");
    }

    #[test]
    fn nobody_waits_for_a_full_way_who_cannot() {
        let (diagnostics, _receiver) = Diagnostics::new(Level::Warn);
        for _ in 0..10 * WAITING {
            diagnostics.try_say(Level::Warn, &"p".into(), "line");
        }
    }
}
