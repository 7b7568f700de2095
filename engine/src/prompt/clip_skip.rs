//! Which nodes give a text encoder's graph an earlier hidden state?
//!
//! Exports of Stable Diffusion's text encoders give `last_hidden_state` only. Every layer of such a transformer adds
//! twice to one residual stream: `x + attention(norm(x))`, then `x + mlp(norm(x))`; the final layer norm reads its end
//! (Radford et al. 2021, section 2.4; Xiong et al. 2020, figure 1b). Hidden state −n is the stream before the last
//! 2 (n − 1) sums. The stream is known by what the nodes do, since every exporter names them in its own way.
use crate::{
    Error, Result,
    runtime::onnx::{Node, Output, Structure},
};
use std::collections::{BTreeSet, HashMap, HashSet};

const TOKENS: &str = "input_ids";
/// ONNX Runtime's sum and layer norm in one: inputs stream, branch, scale, bias; outputs the norm and, fourth, the sum.
const SUM_AND_NORM: &str = "SkipLayerNormalization";
/// A layer norm as one node, and the parts that exporters before opset 17 take it into.
const NORM: &[&str] = &["LayerNormalization", "ReduceMean"];
const NORM_PARTS: &[&str] =
    &["LayerNormalization", "ReduceMean", "Sub", "Pow", "Mul", "Add", "Sqrt", "Div", "Reciprocal", "Cast", "Identity"];
/// More nodes than a layer norm has in any export.
const LONGEST_NORM: usize = 32;

/// A hidden state of a text encoder, counted from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Earlier {
    /// How far from the end: 1 is what the last layer gives.
    pub(super) skip: u32,
    /// Whether the final layer norm is to follow it.
    pub(super) normed: bool,
}

impl Earlier {
    /// The name of the output that [`earlier_state`] adds.
    pub(super) fn name(self) -> String {
        format!("petal.hidden_state.{}{}", self.skip, if self.normed { "" } else { ".raw" })
    }
}

/// Where a graph has its final state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last<'a> {
    /// In this output.
    Output(&'a str),
    /// In none: it gives what stands for the text as a whole alone, which is made of the final state.
    Inside,
}

/// What the last layer norm of a graph gives.
fn last_norm(graph: &Structure) -> Option<&str> {
    let norm = graph.nodes.iter().rev().find(|node| node.op_type.ends_with("LayerNormalization"))?;
    norm.outputs.first().map(String::as_str)
}

/// What gives the hidden state `earlier` of a graph whose final one is called `last`. Takes time proportional to the graph.
///
/// # Errors
/// [`Error::Request`] if `skip` is 0 or leaves no layer; [`Error::Model`] for a graph that is built in another way.
pub(super) fn earlier_state(graph: &Structure, last: Last<'_>, earlier: Earlier) -> Result<Structure> {
    let Earlier { skip, normed } = earlier;
    let (last, kind) = match last {
        Last::Output(last) => {
            let output = graph.outputs.iter().find(|output| output.name == last);
            (last, output.ok_or_else(|| odd(&format!("there is no output `{last}`")))?.kind.clone())
        }
        // ONNX Runtime finds out of what type a value within the graph is
        Last::Inside => {
            (last_norm(graph).ok_or_else(|| odd("there is no output `last_hidden_state`, and no layer norm"))?, None)
        }
    };
    let flow = Flow::new(&graph.nodes, last);
    let (norm, end) = flow.final_norm().ok_or_else(|| odd(&format!("`{last}` is no layer norm of a residual sum")))?;
    let sums = flow.sums(end.node);
    let layers = sums.len() / 2;
    if !sums.len().is_multiple_of(2) {
        return Err(odd(&format!("{} residual sums were found, not two a layer", sums.len())));
    }
    let place = skip.checked_sub(1).filter(|skipped| (*skipped as usize) < layers);
    let sum = sums[2 * place.ok_or_else(|| out_of_range(skip, layers))? as usize];
    let name = earlier.name();
    let nodes = if normed { flow.norm_again(&norm, end, sum, &name) } else { vec![passed_on(flow.name(sum), &name)] };
    Ok(Structure::addition(nodes, vec![Output { name, kind }]))
}

pub(super) fn out_of_range(skip: u32, layers: usize) -> Error {
    Error::request(
        format!("the clip skip is {skip}, but the text encoder has {layers} layers"),
        format!("use a number from 1, which skips nothing, to {layers}, which leaves one layer"),
    )
}

fn odd(why: &str) -> Error {
    Error::model(
        format!("no layer of the text encoder can be skipped: {why}"),
        "export the model again with `scripts/export.py`, or use a clip skip of 1",
    )
}

/// An output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Value {
    /// The node's place in the file, which grows from inputs to outputs.
    node: usize,
    /// Which of its outputs.
    slot: usize,
}

/// How the tokens' values flow through a graph. Lengths and weights are not followed.
struct Flow<'a> {
    nodes: &'a [Node],
    /// The name of the final state.
    last: &'a str,
    /// For each node and each of its inputs, where the input comes from if it depends on the tokens.
    sources: Vec<Vec<Option<Value>>>,
    /// What depends on the tokens, by name.
    values: HashMap<&'a str, Value>,
}

impl<'a> Flow<'a> {
    fn new(nodes: &'a [Node], last: &'a str) -> Self {
        let mut values = HashMap::new();
        let mut sources = Vec::with_capacity(nodes.len());
        for (node, each) in nodes.iter().enumerate() {
            let known: Vec<_> = each.inputs.iter().map(|name| values.get(name.as_str()).copied()).collect();
            let depends = known.iter().any(Option::is_some) || each.inputs.iter().any(|name| name == TOKENS);
            if depends && !matches!(&*each.op_type, "Shape" | "Size") {
                let outputs = each.outputs.iter().enumerate().filter(|(_, name)| !name.is_empty());
                values.extend(outputs.map(|(slot, name)| (name.as_str(), Value { node, slot })));
            }
            sources.push(known);
        }
        Self { nodes, last, sources, values }
    }

    /// The nodes between the residual stream and the final state, last first, and the value in which the stream
    /// ends. Goes back from the output, always from the latest node, until everything comes from one residual sum.
    fn final_norm(&self) -> Option<(Vec<usize>, Value)> {
        let mut open = BTreeSet::from([*self.values.get(self.last)?]);
        let mut norm = Vec::new();
        while norm.len() < LONGEST_NORM {
            let value = open.pop_last()?;
            let op = self.op(value.node);
            if open.is_empty() && (self.is_sum(value) || op == SUM_AND_NORM) && self.stream_before(value.node).is_some()
            {
                let normed = op == SUM_AND_NORM && value.slot == 0;
                let has_norm = norm.iter().any(|node| NORM.contains(&self.op(*node)));
                return (normed != has_norm).then_some((norm, value));
            }
            if !NORM_PARTS.contains(&op) {
                return None;
            }
            norm.push(value.node);
            open.extend(self.sources[value.node].iter().flatten());
        }
        None
    }

    /// The residual sums, from the one of node `end` back to the first.
    fn sums(&self, end: usize) -> Vec<Value> {
        let sum = |node| Value { node, slot: if self.op(node) == SUM_AND_NORM { 3 } else { 0 } };
        let mut sums = vec![sum(end)];
        let mut stream = self.stream_before(end);
        while let Some(value) = stream.filter(|value| self.is_sum(*value)) {
            stream = self.stream_before(value.node);
            if stream.is_some() {
                sums.push(value);
            }
        }
        sums
    }

    /// The stream that node `sum` adds a branch to. In file order, the stream is the earlier of the two; what it is
    /// added to must come from it and have gone through a product with a matrix.
    fn stream_before(&self, sum: usize) -> Option<Value> {
        let [Some(one), Some(other), ..] = self.sources[sum][..] else { return None };
        let (one, other) = (self.settled(one), self.settled(other));
        let (stream, branch) = if one.node < other.node { (one, other) } else { (other, one) };
        self.is_branch(stream.node, branch.node).then_some(stream)
    }

    /// Whether node `last` comes from node `first` through a product with a matrix. Looks only at nodes between the
    /// two, so that the branches of a stream, which lie one behind the other, take linear time together.
    fn is_branch(&self, first: usize, last: usize) -> bool {
        let (mut joined, mut product) = (false, false);
        let mut seen = HashSet::new();
        let mut open = vec![last];
        while let Some(node) = open.pop().filter(|_| !(joined && product)) {
            if node <= first || !seen.insert(node) {
                joined |= node == first;
                continue;
            }
            product |= ["MatMul", "Gemm", "Attention"].iter().any(|part| self.op(node).contains(part));
            open.extend(self.sources[node].iter().flatten().map(|value| value.node));
        }
        joined && product
    }

    /// Where a value comes from, behind nodes that only pass it on.
    fn settled(&self, mut value: Value) -> Value {
        while let ("Cast" | "Identity", [Some(before)]) = (self.op(value.node), &self.sources[value.node][..]) {
            value = *before;
        }
        value
    }

    /// Whether `value` is the sum that its node makes.
    fn is_sum(&self, value: Value) -> bool {
        matches!((self.op(value.node), value.slot), ("Add", 0) | (SUM_AND_NORM, 3))
    }

    fn op(&self, node: usize) -> &str {
        &self.nodes[node].op_type
    }

    fn name(&self, value: Value) -> &str {
        self.nodes[value.node].outputs.get(value.slot).map_or("", String::as_str)
    }

    /// Copies of the nodes `norm` that read `sum` where those read `end`, and give `name` where those give
    /// the final state.
    fn norm_again(&self, norm: &[usize], end: Value, sum: Value, name: &str) -> Vec<Node> {
        let renamed = |old: &str| match old {
            "" => String::new(),
            _ if old == self.last => name.to_owned(),
            _ => format!("{name}/{old}"),
        };
        let mut names = HashMap::from([(self.name(end), self.name(sum).to_owned())]);
        let mut copies = Vec::new();
        if self.op(end.node) == SUM_AND_NORM && end.slot == 0 {
            let output = renamed(self.name(end));
            copies.push(alone(&self.nodes[end.node], self.name(sum), &output));
            names.insert(self.name(end), output);
        }
        for node in norm.iter().rev().map(|place| &self.nodes[*place]) {
            let inputs = node.inputs.iter().map(|input| names.get(input.as_str()).unwrap_or(input).clone()).collect();
            let outputs: Vec<String> = node.outputs.iter().map(|old| renamed(old)).collect();
            names.extend(node.outputs.iter().map(String::as_str).zip(outputs.iter().cloned()));
            copies.push(Node { inputs, outputs, name: format!("{name}/{}", node.name), ..node.clone() });
        }
        copies
    }
}

/// A node that gives `input` another name.
fn passed_on(input: &str, output: &str) -> Node {
    Node {
        inputs: vec![input.to_owned()],
        outputs: vec![output.to_owned()],
        name: output.to_owned(),
        op_type: "Identity".into(),
        ..Node::default()
    }
}

/// The layer norm in a node that sums and norms. ONNX Runtime has it in files of every opset.
fn alone(fused: &Node, input: &str, output: &str) -> Node {
    let weights = fused.inputs.iter().skip(2).take(2).cloned();
    Node {
        inputs: std::iter::once(input.to_owned()).chain(weights).collect(),
        outputs: vec![output.to_owned()],
        name: output.to_owned(),
        op_type: "LayerNormalization".into(),
        attributes: fused.attributes.clone(),
        domain: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const LAST: &str = "last_hidden_state";

    /// The norm of hidden state −`skip`.
    fn normed(graph: &Structure, skip: u32) -> Result<Structure> {
        earlier_state(graph, Last::Output(LAST), Earlier { skip, normed: true })
    }

    fn node(op: &str, inputs: &[&str], output: &str) -> Node {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Node { op_type: op.into(), inputs: names(inputs), outputs: names(&[output]), ..Node::default() }
    }

    /// Layers of which each is norm, product, sum; `x0`, `x1` ... is the stream.
    fn encoder(sums: usize) -> Structure {
        let mut nodes = vec![
            node("Gather", &["words", "input_ids"], "embedded"),
            node("Shape", &["embedded"], "length"),
            node("Slice", &["places", "zero", "length"], "positions"),
            node("Add", &["embedded", "positions"], "x0"),
        ];
        for k in 0..sums {
            let (x, n, m) = (format!("x{k}"), format!("n{k}"), format!("m{k}"));
            nodes.push(node("LayerNormalization", &[&x, "scale", "bias"], &n));
            nodes.push(node("MatMul", &[&n, "matrix"], &m));
            nodes.push(node("Add", &[&m, &x], &format!("x{}", k + 1)));
        }
        nodes.push(node("LayerNormalization", &[&format!("x{sums}"), "scale", "bias"], LAST));
        structure(nodes)
    }

    fn structure(nodes: Vec<Node>) -> Structure {
        Structure::addition(nodes, vec![Output { name: LAST.into(), kind: None }])
    }

    #[test]
    fn each_skip_reads_the_stream_two_sums_earlier() {
        for (skip, stream) in [(2, "x4"), (3, "x2")] {
            let found = normed(&encoder(6), skip).unwrap();
            let name = Earlier { skip, normed: true }.name();
            assert_eq!(found.outputs[0].name, name);
            assert_eq!(found.nodes.len(), 1);
            let norm = &found.nodes[0];
            assert_eq!(
                (&norm.inputs[..], &norm.outputs[..]),
                (&[stream, "scale", "bias"].map(String::from)[..], &[name][..])
            );
        }
    }

    #[test]
    fn a_raw_state_is_the_stream_itself() {
        let found = earlier_state(&encoder(6), Last::Output(LAST), Earlier { skip: 2, normed: false }).unwrap();
        let node = &found.nodes[0];
        assert_eq!((&*node.op_type, &*node.inputs[0], &*node.outputs[0]), ("Identity", "x4", &*found.outputs[0].name));
        // the same where the final state is no output
        let inside = earlier_state(&encoder(6), Last::Inside, Earlier { skip: 2, normed: false }).unwrap();
        assert_eq!(inside.nodes, found.nodes);
    }

    #[test]
    fn one_layer_must_remain() {
        for skip in [0, 4, u32::MAX] {
            let error = normed(&encoder(6), skip).unwrap_err();
            assert_eq!(error.to_string(), format!("the clip skip is {skip}, but the text encoder has 3 layers"));
            assert!(matches!(&error, Error::Request { hint, .. } if hint.contains("from 1") && hint.contains("to 3")));
        }
    }

    #[test]
    fn a_graph_that_is_built_in_another_way_is_named() {
        let mut unsorted = encoder(4).nodes;
        unsorted.reverse();
        let mut not_normed = encoder(4).nodes;
        *not_normed.last_mut().unwrap() = node("Identity", &["x4"], LAST);
        let mut no_product = encoder(4).nodes;
        no_product.iter_mut().filter(|node| node.op_type == "MatMul").for_each(|node| node.op_type = "Relu".into());
        let circle = vec![node("Add", &["a", LAST], "a"), node("Add", &["a", "a"], LAST)];
        let no_sum = vec![node("Gather", &["words", "input_ids"], "x"), node("LayerNormalization", &["x"], LAST)];
        let norm = "no layer norm of a residual sum";
        for (graph, words) in [
            (Structure::default(), "no output `last_hidden_state`"),
            (structure(vec![]), norm),
            (structure(unsorted), norm),
            (structure(not_normed), norm),
            (structure(no_product), norm),
            (structure(circle), norm),
            (structure(no_sum), norm),
            (encoder(5), "5 residual sums were found"),
        ] {
            let error = normed(&graph, 2).unwrap_err();
            assert!(matches!(error, Error::Model { .. }) && error.to_string().contains(words), "{error}");
            assert!(error.hint().unwrap().contains("scripts/export.py"));
        }
    }

    /// Streams, branches and chains of casts of hundreds of thousands of nodes neither end the stack nor take long.
    #[test]
    fn hostile_graphs_take_linear_time() {
        const MANY: usize = 200_000;
        let begun = Instant::now();
        assert_eq!(normed(&encoder(MANY), 2).unwrap().nodes.len(), 1);
        let link = |k: usize| node(["Cast", "MatMul"][k % 2], &[&format!("c{k}")], &format!("c{}", k + 1));
        let mut deep = vec![node("Gather", &["words", "input_ids"], "c0")];
        deep.extend((0..MANY).map(link));
        let end = format!("c{MANY}");
        let sums = (0..MANY).map(|k| node("Add", &[&format!("c{k}"), if k == 0 { &end } else { "s" }], "s"));
        deep.extend(sums);
        deep.push(node("LayerNormalization", &["s"], LAST));
        let _ = normed(&structure(deep), 2);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    /// Wires an encoder at random, thousands of times: there is an answer each time.
    #[test]
    fn no_wiring_is_a_panic() {
        let mut state = 1_u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let (mut found, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let mut graph = encoder(4);
            for _ in 0..=draw(3) {
                let (from, to) = (draw(graph.nodes.len()), draw(graph.nodes.len()));
                let name = graph.nodes[from].outputs.first().cloned().unwrap_or_default();
                match draw(4) {
                    0 => graph.nodes[to].inputs.push(name),
                    1 => graph.nodes[to].inputs[0] = name,
                    2 => graph.nodes[to].op_type = [SUM_AND_NORM, "Add", "Cast", "Shape"][draw(4)].into(),
                    _ => graph.nodes[to].outputs.insert(0, String::new()),
                }
            }
            match normed(&graph, 2) {
                Ok(_) => found += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(found > 1000 && refused > 1000, "{found} {refused}");
    }
}
