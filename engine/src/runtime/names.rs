//! What does a graph take and give, under which of the names that exporters give to it, and in which type?
use super::{
    Graph, Port,
    graph::Element,
    onnx::{Node, Structure},
};
use crate::{Error, Result};
use std::collections::{HashMap, HashSet};

/// Operators that hand on as many channels as they are given.
const PASSING: &[&str] = &["Cast", "Identity", "Mul", "Div", "Add", "Sub"];

/// A kind of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 16 or 32 bits.
    Float,
    /// 32 or 64 bits.
    Whole,
}

impl Graph {
    /// The first of `names` that is an input; else what is said of the first of them.
    pub(crate) fn input_of(&self, names: &[&'static str]) -> Result<&'static str> {
        match names.iter().find(|name| self.wanted(name).is_some()) {
            Some(name) => Ok(name),
            None => self.input(names[0]).map(|_| names[0]),
        }
    }

    /// The first of `names` that is an output, or the only output there is, whatever its name.
    pub(crate) fn output_of(&self, names: &[&str]) -> Result<String> {
        match (names.iter().find(|name| self.outputs().iter().any(|port| port.name == **name)), self.outputs()) {
            (Some(name), _) => Ok((*name).to_owned()),
            (None, [port]) => Ok(port.name.clone()),
            (None, _) => self.output(names[0]).map(|port| port.name.clone()),
        }
    }

    /// The input `name`, if the graph has it.
    pub(crate) fn wanted(&self, name: &str) -> Option<&Port> {
        self.inputs().iter().find(|port| port.name == name)
    }

    /// Fails unless the input `name` is there and takes numbers of this kind.
    pub(crate) fn takes(&self, name: &str, kind: Kind) -> Result<()> {
        self.check_kind("takes", self.input(name)?, kind)
    }

    /// Fails unless the output `name` is there and gives real numbers.
    pub(crate) fn gives(&self, name: &str) -> Result<()> {
        self.check_kind("gives", self.output(name)?, Kind::Float)
    }

    fn check_kind(&self, does: &str, port: &Port, kind: Kind) -> Result<()> {
        let (elements, words) = match kind {
            Kind::Float => ([Element::F32, Element::F16], "floats of 16 or 32 bits"),
            Kind::Whole => ([Element::I32, Element::I64], "integers of 32 or 64 bits"),
        };
        if elements.contains(&port.element) {
            return Ok(());
        }
        Err(Error::model(
            format!("`{}` {does} `{}` in a type that petal does not use there", self.name, port.name),
            format!("export the model with {words} for `{}`", port.name),
        ))
    }

    /// How many channels the input `name` has: as it says, or as the first weights do that it meets.
    pub(crate) fn channels(&self, name: &str, axis: usize) -> Result<Option<usize>> {
        match self.input(name)?.axes.get(axis) {
            Some(Some(channels)) => Ok(Some(*channels)),
            _ => Ok(channels_of(self.dissected()?.structure(), name)),
        }
    }
}

/// The channels of the first convolution, or the rows of the first matrix, that reads `input`.
fn channels_of(graph: &Structure, input: &str) -> Option<usize> {
    let shapes: HashMap<String, Vec<i64>> = graph.weights().map(|weight| (weight.name, weight.shape)).collect();
    let mut values = HashSet::from([input]);
    let mut casts: HashMap<&str, &str> = HashMap::new(); // weights in 16 bits are followed by their Cast
    for node in &graph.nodes {
        let reads = node.inputs.first().is_some_and(|first| values.contains(first.as_str()));
        let weight = node.inputs.get(1).map(|name| *casts.get(name.as_str()).unwrap_or(&name.as_str()));
        let shape = weight.and_then(|name| shapes.get(name));
        match (node.op_type.as_str(), node.inputs.first(), node.outputs.first()) {
            ("Conv", ..) if reads => return shape.and_then(|shape| conv_channels(node, shape)),
            ("MatMul", ..) if reads => return shape.and_then(|shape| usize::try_from(*shape.first()?).ok()),
            ("Cast", Some(from), Some(to)) if shapes.contains_key(from) => drop(casts.insert(to, from)),
            (op, _, Some(to)) if PASSING.contains(&op) && node.inputs.iter().any(|name| values.contains(&**name)) => {
                values.insert(to);
            }
            _ => {}
        }
    }
    None
}

/// The channels that a convolution takes, whose weights are `[outputs, channels / groups, ...]`.
fn conv_channels(node: &Node, shape: &[i64]) -> Option<usize> {
    let groups = node.attribute("group").map_or(1, |group| group.int.max(1));
    usize::try_from(shape.get(1)?.checked_mul(groups)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, inputs: &[&str], output: &str) -> Node {
        let inputs = inputs.iter().map(|name| (*name).to_owned()).collect();
        Node { op_type: op.into(), inputs, outputs: vec![output.into()], ..Node::default() }
    }

    #[test]
    fn open_channels_are_those_of_the_first_weights() {
        let nodes = vec![
            node("Cast", &["w"], "wide"),
            node("Div", &["x", "scale"], "y"),
            node("Conv", &["other", "v"], "z"),
            node("Conv", &["y", "wide"], "end"),
        ];
        let weights: [(&str, &[i64], Vec<f32>); 2] = [("w", &[1, 4, 1, 1], vec![0.0; 4]), ("v", &[1, 9], vec![0.0; 9])];
        let graph = Structure::for_test(nodes, &weights);
        assert_eq!(channels_of(&graph, "x"), Some(4));
        assert_eq!(channels_of(&graph, "other"), Some(9));
        assert_eq!(channels_of(&graph, "nothing"), None);
    }
}
