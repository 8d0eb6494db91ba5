//! Names of a document's parts that more than one of its readers knows.

/// Name of the list of steps in the document, and in messages.
pub(super) const STEPS: &str = "steps";

/// Name of the other form in the document.
pub(super) const GRAPH: &str = "graph";

/// Name of the list of nodes in messages.
pub(super) const NODES: &str = "graph.nodes";

/// Field of a step for the keys of those that it waits for.
pub(super) const DEPENDS_ON: &str = "depends_on";
