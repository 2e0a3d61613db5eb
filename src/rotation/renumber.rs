//! For the model: numbers that only grow, made small again, so that the space of states is finite.
//!
//! A moment that is older than it matters is like any other such; of generations and tickets only the order counts. The machine
//! calls this for every such number that it remembers; nothing in production does.

use std::time::Duration;

use super::{
    event::Ticket,
    operation::{Operation, OperationId},
    pace::Age,
};
use crate::{clock::Moment, ids::Generation};

/// Replaces numbers that only grow.
#[doc(hidden)]
pub trait Renumber {
    /// A moment; one that is further back than `matters` is like any other such.
    fn moment(&mut self, at: &mut Moment, matters: Duration);
    /// An age; one above `matters` is like any other such.
    fn age(&mut self, age: &mut Age, matters: Duration);
    /// A wall-clock time; one that is further back than `matters` is like any other such.
    fn unix(&mut self, at: &mut u64, matters: Duration);
    /// A generation.
    fn generation(&mut self, generation: &mut Generation);
    /// A generation that those of requests are compared with, and nothing else.
    fn since(&mut self, generation: &mut Generation);
    /// A ticket.
    fn ticket(&mut self, ticket: &mut Ticket);
    /// The number of an operation.
    fn operation(&mut self, id: &mut OperationId);
    /// What was done, which decides nothing.
    fn history(&mut self, operations: &mut Vec<Operation>);
}
