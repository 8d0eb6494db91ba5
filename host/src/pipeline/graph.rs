//! Reads the `graph` form of a pipeline: nodes and edges as petgraph's serde writes them, with holes where something
//! was removed. What the edges mean to a build is the plan's affair.

use std::collections::{BTreeMap, HashMap};

use hm_plugin_protocol::CommandStep;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::PipelineError;
use super::json::{array, object, place, shape};
use super::names::{DEPENDS_ON, NODES};

/// A graph that was read.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// The nodes; `builds_in` is what the edges say.
    pub(super) steps: Vec<CommandStep>,
    /// Positions in `steps`: the second starts when the first has succeeded.
    pub(super) depends_on: Vec<(usize, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Edge {
    /// The second starts from the files that the first left.
    BuildsIn,
    /// The second starts when the first has succeeded.
    DependsOn,
}

/// Reads a graph.
///
/// # Errors
/// [`PipelineError::Shape`], with the node or edge at fault.
pub(super) fn read(graph: Value, origin: &str) -> Result<Graph, PipelineError> {
    let mut fields = object(graph, origin, "graph")?;
    match fields.remove("edge_property") {
        None => {}
        Some(Value::String(property)) if property == "directed" => {}
        Some(other) => {
            let reason = format!("it is {other}, and only \"directed\" has a meaning here");
            return Err(shape(origin, "graph.edge_property", reason));
        }
    }
    let nodes = array(fields.remove("nodes"), origin, NODES)?;
    let holes =
        array(fields.remove("node_holes").or(Some(Value::Array(Vec::new()))), origin, "graph.node_holes")?;
    let edges = array(fields.remove("edges"), origin, "graph.edges")?;

    let mut graph = Graph::default();
    for (index, value) in nodes.into_iter().enumerate() {
        graph.add_node(index, value, origin)?;
    }
    let positions = positions(graph.steps.len(), holes, origin)?;
    let mut seen = HashMap::new();
    for (index, value) in edges.into_iter().enumerate() {
        // Where an edge was removed.
        if value.is_null() {
            continue;
        }
        let at = format!("graph.edges[{index}]");
        let edge: (usize, usize, Edge) =
            serde_json::from_value(value).map_err(|e| shape(origin, &at, e.to_string()))?;
        if let Some(first) = seen.insert(edge, index) {
            return Err(shape(origin, &at, format!("it repeats graph.edges[{first}]")));
        }
        let position = |node: usize| {
            let found = positions.get(node).copied().flatten();
            found.ok_or_else(|| shape(origin, &at, format!("there is no node {node}")))
        };
        graph.add_edge((position(edge.0)?, position(edge.1)?, edge.2), origin, &at)?;
    }
    Ok(graph)
}

impl Graph {
    fn add_node(&mut self, index: usize, value: Value, origin: &str) -> Result<(), PipelineError> {
        let at = place(NODES, index, value.get("step").unwrap_or(&Value::Null));
        let mut node = object(value, origin, &at)?;
        let failed = |e: serde_json::Error| shape(origin, &at, e.to_string());
        let mut step: CommandStep =
            serde_json::from_value(node.remove("step").unwrap_or_else(|| Value::Object(Map::new())))
                .map_err(failed)?;
        let is_said =
            [("builds_in", step.builds_in.is_some()), (DEPENDS_ON, step.extra.contains_key(DEPENDS_ON))];
        if let Some((field, _)) = is_said.into_iter().find(|(_, is_said)| *is_said) {
            return Err(shape(origin, &at, format!("it has a field `{field}`, which is for an edge to say")));
        }
        let env: Option<BTreeMap<String, String>> =
            node.remove("env").map(serde_json::from_value).transpose().map_err(failed)?.flatten();
        // The node's is what the emitter made of all that it knows.
        if let Some(env) = env {
            step.env.get_or_insert_default().extend(env);
        }
        self.steps.push(step);
        Ok(())
    }

    fn add_edge(
        &mut self,
        (from, to, edge): (usize, usize, Edge),
        origin: &str,
        at: &str,
    ) -> Result<(), PipelineError> {
        match edge {
            Edge::DependsOn => self.depends_on.push((from, to)),
            Edge::BuildsIn => {
                let parent = self.steps[from].key.clone();
                if let Some(other) = self.steps[to].builds_in.replace(parent) {
                    let (key, parent) = (&self.steps[to].key, &self.steps[from].key);
                    let reason = format!(
                        "step `{key}` cannot build in `{parent}`, for it builds in `{other}` already"
                    );
                    return Err(shape(origin, at, reason));
                }
            }
        }
        Ok(())
    }
}

/// For each number that an edge may name, the position of its node; nothing for a hole.
fn positions(nodes: usize, holes: Vec<Value>, origin: &str) -> Result<Vec<Option<usize>>, PipelineError> {
    let total = nodes + holes.len();
    let mut is_hole = vec![false; total];
    for (index, hole) in holes.into_iter().enumerate() {
        let at = format!("graph.node_holes[{index}]");
        let number: usize = serde_json::from_value(hole).map_err(|e| shape(origin, &at, e.to_string()))?;
        match is_hole.get_mut(number) {
            None => {
                let reason = format!("{number} is beyond the last of {total} nodes and holes");
                return Err(shape(origin, &at, reason));
            }
            Some(true) => return Err(shape(origin, &at, format!("it repeats {number}"))),
            Some(hole) => *hole = true,
        }
    }
    let mut next = 0..nodes;
    Ok(is_hole.into_iter().map(|hole| if hole { None } else { next.next() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Overrides, Plan, choose, parse, sketch};

    fn parsed(graph: &str) -> Result<Graph, String> {
        read(serde_json::from_str(graph).expect("JSON"), "p").map_err(|e| e.to_string())
    }

    /// A graph with nodes `a`, `b` and `c`, and these other fields.
    fn with(fields: &str) -> Result<Graph, String> {
        let nodes =
            ["a", "b", "c"].map(|key| format!(r#"{{"step":{{"key":"{key}","cmd":":"}},"env":{{}}}}"#));
        parsed(&format!(r#"{{"nodes":[{}],{fields}}}"#, nodes.join(",")))
    }

    #[test]
    fn edges_say_what_builds_in_what_and_what_waits_for_what() {
        let graph = with(
            r#""node_holes":[],"edge_property":"directed",
               "edges":[[0,1,"builds_in"],null,[0,1,"depends_on"],[0,2,"depends_on"],[1,2,"depends_on"]]"#,
        )
        .expect("valid");
        let parents: Vec<_> = graph.steps.iter().map(|s| s.builds_in.as_deref()).collect();
        assert_eq!(parents, [None, Some("a"), None]);
        assert_eq!(graph.depends_on, [(0, 1), (0, 2), (1, 2)]);
    }

    #[test]
    fn edges_count_the_holes() {
        let graph =
            with(r#""node_holes":[3,0],"edges":[[1,2,"builds_in"],[2,4,"depends_on"]]"#).expect("valid");
        assert_eq!(graph.steps[1].builds_in.as_deref(), Some("a"));
        assert_eq!(graph.depends_on, [(1, 2)]);
    }

    #[test]
    fn the_environment_of_a_node_wins_over_that_of_its_step() {
        let graph = parsed(
            r#"{"nodes":[{"step":{"key":"a","cmd":":","env":{"A":"step","B":"step"}},"env":{"B":"node"}},
                         {"step":{"key":"b","cmd":":"},"env":null,"weight":1}],"edges":[],"name":"g"}"#,
        )
        .expect("valid");
        let env = graph.steps[0].env.clone().expect("an environment");
        assert_eq!(env, [("A", "step"), ("B", "node")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(graph.steps[1].env, None);
    }

    #[test]
    fn a_graph_of_100_000_steps_is_planned() {
        let nodes: Vec<String> = (0..100_000)
            .map(|n| format!(r#"{{"step":{{"key":"k{n}","cmd":":"}},"env":{{"CI":"true"}}}}"#))
            .collect();
        let edges: Vec<String> = (1..100_000)
            .map(|n| format!(r#"[{},{n},"builds_in"],[{},{n},"depends_on"]"#, n - 1, n / 2))
            .collect();
        let text = format!(
            r#"{{"version":"0","graph":{{"nodes":[{}],"node_holes":[],"edges":[{}]}}}}"#,
            nodes.join(","),
            edges.join(",")
        );
        let (_, definition) = choose(parse(text.as_bytes(), "p", "p").expect("JSON"), None).expect("a graph");
        let plan = Plan::new(definition, &Overrides::default(), &sketch::runners()).expect("valid");
        assert_eq!((plan.steps().len(), plan.summary().chain_count), (100_000, 1));
        assert_eq!(plan.steps()[99_999].needs().collect::<Vec<_>>(), [99_998, 49_999]);
    }

    #[test]
    fn graphs_that_cannot_be_read_name_the_place() {
        for (fields, expected) in [
            (r#""edges":{}"#, "graph.edges is not valid: expected an array"),
            (r#""node_holes":[]"#, "graph is not valid: missing field `edges`"),
            (
                r#""edges":[],"edge_property":"undirected""#,
                r#"graph.edge_property is not valid: it is "undirected", and only "directed" has a meaning here"#,
            ),
            (r#""edges":[[0,3,"builds_in"]]"#, "graph.edges[0] is not valid: there is no node 3"),
            (
                r#""edges":[[1,0,"builds_in"]],"node_holes":[1]"#,
                "graph.edges[0] is not valid: there is no node 1",
            ),
            (
                r#""edges":[[0,-1,"builds_in"]]"#,
                "graph.edges[0] is not valid: invalid value: integer `-1`, expected usize",
            ),
            (
                r#""edges":[[0,1]]"#,
                "graph.edges[0] is not valid: invalid length 2, expected a tuple of size 3",
            ),
            (
                r#""edges":[[0,1,"likes"]]"#,
                "graph.edges[0] is not valid: unknown variant `likes`, expected `builds_in` or `depends_on`",
            ),
            (
                r#""edges":[[0,1,"depends_on"],[0,2,"depends_on"],[0,1,"depends_on"]]"#,
                "graph.edges[2] is not valid: it repeats graph.edges[0]",
            ),
            (
                r#""edges":[[0,2,"builds_in"],[1,2,"builds_in"]]"#,
                "graph.edges[1] is not valid: step `c` cannot build in `b`, for it builds in `a` already",
            ),
            (
                r#""edges":[],"node_holes":[4]"#,
                "graph.node_holes[0] is not valid: 4 is beyond the last of 4 nodes and holes",
            ),
            (r#""edges":[],"node_holes":[1,1]"#, "graph.node_holes[1] is not valid: it repeats 1"),
        ] {
            assert_eq!(with(fields).expect_err(fields), format!("p: {expected}"));
        }
        for (node, expected) in [
            ("7", "graph.nodes[0] is not valid: expected a JSON object"),
            ("{}", "graph.nodes[0] is not valid: missing field `key`"),
            (r#"{"step":{"key":"a"}}"#, "graph.nodes[0] (key `a`) is not valid: missing field `cmd`"),
            (
                r#"{"step":{"key":"a","cmd":":"},"env":{"A":1}}"#,
                "graph.nodes[0] (key `a`) is not valid: invalid type: integer `1`, expected a string",
            ),
            (
                r#"{"step":{"key":"a","cmd":":","builds_in":"b"}}"#,
                "graph.nodes[0] (key `a`) is not valid: it has a field `builds_in`, which is for an edge to say",
            ),
            (
                r#"{"step":{"key":"a","cmd":":","depends_on":["b"]}}"#,
                "graph.nodes[0] (key `a`) is not valid: it has a field `depends_on`, which is for an edge to say",
            ),
        ] {
            let text = format!(r#"{{"nodes":[{node}],"edges":[]}}"#);
            assert_eq!(parsed(&text).expect_err(node), format!("p: {expected}"));
        }
    }
}
