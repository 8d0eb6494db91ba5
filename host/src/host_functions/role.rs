//! The purpose of a plugin's instance, which decides what it can act on.

use uuid::Uuid;

use super::{Output, StepContext};

/// Purpose of an instance, with what it acts on.
pub enum Role {
    /// To say what the plugin is.
    Manifest,
    /// To run one step.
    Executor(Box<StepContext>),
    /// To show the events of one build.
    Formatter(Output),
    /// To be told of the events of one build.
    Hook,
    /// To carry out one command.
    Subcommand(Output),
    /// To have a function called by `hm plugin call`.
    Call(Output),
}

/// Kind of a [`Role`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleKind {
    /// That of [`Role::Manifest`].
    Manifest,
    /// That of [`Role::Executor`].
    Executor,
    /// That of [`Role::Formatter`].
    Formatter,
    /// That of [`Role::Hook`].
    Hook,
    /// That of [`Role::Subcommand`].
    Subcommand,
    /// That of [`Role::Call`].
    Call,
}

impl Role {
    /// Kind of this role, without what it acts on.
    #[must_use]
    pub fn kind(&self) -> RoleKind {
        match self {
            Self::Manifest => RoleKind::Manifest,
            Self::Executor(_) => RoleKind::Executor,
            Self::Formatter(_) => RoleKind::Formatter,
            Self::Hook => RoleKind::Hook,
            Self::Subcommand(_) => RoleKind::Subcommand,
            Self::Call(_) => RoleKind::Call,
        }
    }

    /// The streams that it writes to, if it has any.
    pub fn output(&mut self) -> Option<&mut Output> {
        match self {
            Self::Formatter(output) | Self::Subcommand(output) | Self::Call(output) => Some(output),
            Self::Manifest | Self::Executor(_) | Self::Hook => None,
        }
    }

    /// The step that it runs, if it runs one.
    #[must_use]
    pub(crate) fn step_id(&self) -> Option<Uuid> {
        match self {
            Self::Executor(step) => Some(step.scope.step_id),
            _ => None,
        }
    }
}

impl RoleKind {
    /// One word, for programs.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Executor => "executor",
            Self::Formatter => "formatter",
            Self::Hook => "hook",
            Self::Subcommand => "subcommand",
            Self::Call => "call",
        }
    }

    /// All of them, for people.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Manifest => "a plugin that says what it is",
            Self::Executor => "step executors",
            Self::Formatter => "output formatters",
            Self::Hook => "lifecycle hooks",
            Self::Subcommand => "subcommands",
            Self::Call => "`hm plugin call`",
        }
    }
}
