//! The sandbox attacks itself: hostile guests, each in a process of its own, and what must become of them. The table of
//! attacks is [`attacks`]; [`act`] carries one out, [`run`] has that done and judges it. Showing it is the command
//! line's.

mod carry_out;
mod definition;
mod generated;
mod guests;
mod judge;
mod outcome;
mod run;
mod table;

pub(crate) use carry_out::{AttackError, act};
pub(crate) use definition::Attack;
pub(crate) use judge::judge;
pub(crate) use outcome::{AttackOutcome, CallEnd, Judgement, Observation};
pub(crate) use run::run;
pub(crate) use table::attacks;
