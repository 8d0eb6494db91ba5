//! The way of plugins' diagnostics to whoever shows them. It is bounded: a plugin that floods it waits, or loses lines,
//! and neither blocks the program nor fills its memory.

use std::sync::Arc;

use hm_plugin_protocol::Level;
use tokio::sync::mpsc;

/// Lines that may wait to be shown.
const WAITING: usize = 256;

/// Most bytes that one instance may send in its life.
const MAX_BYTES: usize = 1 << 20;

/// A line for whoever debugs a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Importance, by which it is shown or not.
    pub level: Level,
    /// Name of the plugin that says it.
    pub plugin: Arc<str>,
    /// Text, which may be anything.
    pub text: String,
}

/// Takes diagnostics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    threshold: Level,
    sender: mpsc::Sender<Diagnostic>,
}

/// Allowance of one instance for its diagnostics, and how much of it is used.
#[derive(Debug, Default)]
pub struct LogBudget {
    used: usize,
}

impl Diagnostics {
    /// A way for what is at least this important, and its other end. The other end sees the end of the stream once all
    /// plugins are gone.
    #[must_use]
    pub fn new(threshold: Level) -> (Self, mpsc::Receiver<Diagnostic>) {
        Self::with_room(threshold, 0)
    }

    /// The same, with room for so many lines of those who cannot wait.
    #[must_use]
    pub(crate) fn with_room(threshold: Level, lines: usize) -> (Self, mpsc::Receiver<Diagnostic>) {
        let (sender, receiver) = mpsc::channel(WAITING + lines);
        (Self { threshold, sender }, receiver)
    }

    /// Hands a line on, and waits until there is room for it.
    pub(crate) async fn send(&self, budget: &mut LogBudget, level: Level, plugin: &Arc<str>, text: &str) {
        if let Some(diagnostic) = self.admit(budget, level, plugin, text) {
            // Nobody listens any more when the program is about to end.
            let _ = self.sender.send(diagnostic).await;
        }
    }

    /// Hands a line on if there is room for it.
    pub(crate) fn try_send(&self, level: Level, plugin: &Arc<str>, text: &str) {
        if let Some(diagnostic) = self.admit(&mut LogBudget::default(), level, plugin, text) {
            // The ABI has capped and counted it already; what is lost here is a flood.
            let _ = self.sender.try_send(diagnostic);
        }
    }

    fn admit(
        &self,
        budget: &mut LogBudget,
        level: Level,
        plugin: &Arc<str>,
        text: &str,
    ) -> Option<Diagnostic> {
        if level < self.threshold || budget.used > MAX_BYTES {
            return None;
        }
        // An empty line costs the reader something too.
        budget.used += text.len() + 1;
        let text = if budget.used > MAX_BYTES { "(it says too much; the rest is dropped)" } else { text };
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
        let mut budget = LogBudget::default();
        diagnostics.send(&mut budget, Level::Info, &plugin, "quiet").await;
        for _ in 0..100 {
            diagnostics.send(&mut budget, Level::Warn, &plugin, &"x".repeat(100_000)).await;
        }
        diagnostics.try_send(Level::Error, &plugin, "another");
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
            diagnostics.try_send(Level::Warn, &"p".into(), "line");
        }
    }
}
