//! One step of a plan: what the pipeline says of it, and its place among the others.

use std::time::Duration;

use hm_plugin_protocol::CommandStep;

use super::caching::Caching;

/// A step and its place in the plan. Steps are named by their position in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// As the pipeline has it.
    pub step: CommandStep,
    /// The step that it builds in.
    pub parent: Option<usize>,
    /// The steps that build in it, in order.
    pub children: Vec<usize>,
    /// The steps that have to succeed before it, whatever it builds in.
    pub depends_on: Vec<usize>,
    /// The steps that depend on it so.
    pub dependents: Vec<usize>,
    /// Number of waits that stand before it.
    pub stage: usize,
    /// Its chain: a run of steps in which each is the only child of the one before.
    pub chain: usize,
    /// Name of its runner.
    pub runner: String,
    /// The image that it runs in, if it is a root with an image.
    pub image: Option<String>,
    /// Time that it may take.
    pub timeout: Option<Duration>,
    /// Policy for its result.
    pub caching: Caching,
}

impl PlannedStep {
    /// Steps that have to succeed before it starts; a step that is needed in two ways comes twice.
    pub fn needs(&self) -> impl Iterator<Item = usize> {
        self.parent.iter().chain(&self.depends_on).copied()
    }

    /// The steps that need this one, likewise.
    pub fn followers(&self) -> impl Iterator<Item = usize> {
        self.children.iter().chain(&self.dependents).copied()
    }
}
