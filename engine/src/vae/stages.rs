//! Where can an autoencoder's graph be cut, so that each stage between two cuts works on a strip of the picture as it
//! would on the whole?
//!
//! All layers of such a network look at a small neighbourhood, but for two. A group norm (Wu & He 2018) takes mean and
//! variance over the whole plane: the graph is cut in front of each, and the next stage is given the normed plane, since
//! the two numbers are known by then. Attention looks at everything: its stage takes the plane in one piece. So nothing
//! is estimated, and no seam can be: the picture is that of the whole graph, but for rounding.
//!
//! Exporters of torch write a group norm as `Reshape` to `[batch, groups, rest]`, `InstanceNormalization` with scale 1
//! and bias 0, `Reshape` back, `Mul`, `Add` (`torch/onnx/symbolic_opset9.py`, `group_norm`), or as
//! `GroupNormalization`.
use crate::runtime::{
    Piece, PieceInput,
    data_type::{FLOAT, FLOAT16, INT64},
    onnx::{Node, Structure, Weight},
};
use std::collections::{BTreeSet, HashMap};

/// Operators of which each value depends on a neighbourhood of the same place only, and those that compute lengths.
const LOCAL: &[&str] = &[
    "Conv",
    "Sigmoid",
    "Mul",
    "Add",
    "Sub",
    "Div",
    "Relu",
    "LeakyRelu",
    "Tanh",
    "Clip",
    "Erf",
    "Gelu",
    "QuickGelu",
    "Swish",
    "HardSigmoid",
    "Resize",
    "Upsample",
    "Cast",
    "Identity",
    "Pad",
    "Constant",
    "ConstantOfShape",
    "Shape",
    "Gather",
    "Unsqueeze",
    "Squeeze",
    "Concat",
    "Slice",
    "Reshape",
    "Transpose",
    "InstanceNormalization",
    "GroupNormalization",
];
/// Operators of attention.
const GLOBAL: &[&str] = &["MatMul", "Gemm", "Softmax", "MultiHeadAttention", "Attention"];

/// The nodes between two cuts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stage {
    /// The nodes; all inputs and outputs are planes `[1, channels, height, width]`.
    pub(super) piece: Piece,
    /// The planes that it reads as they are.
    pub(super) reads: Vec<String>,
    /// The norm that it begins with.
    pub(super) norm: Option<Norm>,
    /// How many rows above and below a strip have an influence on it, at most.
    pub(super) halo: usize,
    /// Strips begin at multiples of this.
    pub(super) step: usize,
    /// Whether it has attention, which looks at the whole plane.
    pub(super) attends: bool,
    /// Whether its attention stores how much each position attends to each, which a fused operator does not.
    pub(super) scores: bool,
    /// Values to a position of its input, where there are most.
    pub(super) widest: f64,
    /// Positions of its output to one of its input, along an axis.
    pub(super) grows: f64,
}

/// A group norm, which is made outside the graphs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Norm {
    /// The plane that is normed.
    pub(super) plane: String,
    /// The input that takes the normed plane.
    pub(super) normed: String,
    pub(super) groups: usize,
    pub(super) epsilon: f32,
    /// What each channel is multiplied by when it is normed; none: 1.
    pub(super) gains: Vec<f32>,
    /// What is added to each channel then; none: 0.
    pub(super) offsets: Vec<f32>,
}

/// The stages of the graph from its input to its output `last`, in order; `None` if it has another kind of norm, or an
/// operator that is not known to be local.
pub(super) fn stages(graph: &Structure, first: &str, last: &str) -> Option<Vec<Stage>> {
    let cuts = Cuts::new(graph, first)?;
    let mut wanted = BTreeSet::from([last.to_owned()]);
    let mut stages: Vec<_> =
        (0..=cuts.norms.len()).rev().map(|number| cuts.stage(number, &mut wanted)).collect::<Option<_>>()?;
    stages.reverse();
    Some(stages)
}

/// A graph whose nodes are dealt out to stages.
struct Cuts<'a> {
    graph: &'a Structure,
    weights: HashMap<String, Weight>,
    /// Which node gives a value.
    givers: HashMap<&'a str, usize>,
    /// Which nodes read a value.
    readers: HashMap<&'a str, Vec<usize>>,
    /// The stage of each value that depends on the input.
    values: HashMap<&'a str, usize>,
    /// The stage of each node that depends on the input.
    places: Vec<Option<usize>>,
    /// Node and description.
    norms: Vec<(usize, Norm)>,
    elements: HashMap<&'a str, i32>,
}

impl<'a> Cuts<'a> {
    fn new(graph: &'a Structure, first: &'a str) -> Option<Self> {
        let weights = graph.weights().map(|weight| (weight.name.clone(), weight)).collect();
        let named = |(place, node): (usize, &'a Node)| node.outputs.iter().map(move |name| (name.as_str(), place));
        let givers = graph.nodes.iter().enumerate().flat_map(named).collect();
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|name| readers.entry(name).or_default().push(place));
        }
        let (values, places) = (HashMap::from([(first, 0)]), vec![None; graph.nodes.len()]);
        let (norms, elements) = (Vec::new(), HashMap::new());
        let mut cuts = Self { graph, weights, givers, readers, values, places, norms, elements };
        cuts.find_norms()?;
        cuts.deal()?;
        cuts.find_elements(first);
        Some(cuts)
    }

    /// The group norms, in the order in which they run; `None` if one is not as the exporters write it.
    fn find_norms(&mut self) -> Option<()> {
        for (place, node) in self.graph.nodes.iter().enumerate() {
            if !LOCAL.contains(&&*node.op_type) && !GLOBAL.contains(&&*node.op_type) {
                return None;
            }
            if node.op_type.ends_with("Normalization") {
                self.norms.push((place, self.norm(node)?));
            }
        }
        Some(())
    }

    /// The group norm that `node` is the heart of.
    fn norm(&self, node: &'a Node) -> Option<Norm> {
        let ([plane, scale, bias], [output]) = (&node.inputs[..], &node.outputs[..]) else { return None };
        let (scale, bias) = (self.numbers(scale)?, self.numbers(bias)?);
        let mut norm = Norm {
            plane: self.behind_shapes(plane)?.to_owned(),
            normed: output.clone(),
            groups: scale.len(),
            epsilon: node.attribute("epsilon").map_or(1e-5, |attribute| attribute.float),
            gains: Vec::new(),
            offsets: Vec::new(),
        };
        if node.op_type == "GroupNormalization" {
            norm.groups = usize::try_from(node.attribute("num_groups")?.int).ok()?;
            (norm.gains, norm.offsets) = (scale, bias);
            return Some(norm);
        }
        let differ = |numbers: &[f32], from: f32| numbers.iter().any(|number| (number - from).abs() > 1e-6);
        if differ(&scale, 1.0) || differ(&bias, 0.0) {
            return None;
        }
        // numbers for the channels of a plane tell that it is one again behind its `Reshape`; attention goes on in rows
        let mut last = self.sole_reader(output).filter(|node| node.op_type == "Reshape")?;
        for (operator, numbers) in [("Mul", &mut norm.gains), ("Add", &mut norm.offsets)] {
            let next = self.sole_reader(last.outputs.first()?).filter(|node| node.op_type == operator);
            let Some((next, channels)) = next.and_then(|next| Some((next, self.channels(next)?))) else { break };
            (*numbers, last) = (channels, next);
            norm.normed.clone_from(last.outputs.first()?);
        }
        Some(norm)
    }

    /// The node that reads the value `name`, if there is one only.
    fn sole_reader(&self, name: &str) -> Option<&'a Node> {
        match &self.readers.get(name)?[..] {
            [place] => Some(&self.graph.nodes[*place]),
            _ => None,
        }
    }

    /// The numbers that `node` has for each channel of a plane.
    fn channels(&self, node: &Node) -> Option<Vec<f32>> {
        let of = |name: &String| match self.weight_shape(name)?[..] {
            [.., channels, 1, 1] => self.numbers(name).filter(|numbers| numbers.len() as i64 == channels),
            _ => None,
        };
        node.inputs.iter().find_map(of)
    }

    /// The value that `name` is another shape of.
    fn behind_shapes(&self, name: &'a str) -> Option<&'a str> {
        let mut name = name;
        while let Some(node) = self.givers.get(name).map(|place| &self.graph.nodes[*place]) {
            if node.op_type != "Reshape" {
                break;
            }
            name = node.inputs.first()?;
        }
        Some(name)
    }

    /// The numbers of a small weight or constant.
    fn numbers(&self, name: &str) -> Option<Vec<f32>> {
        match self.weights.get(name) {
            Some(weight) => weight.numbers(),
            None => match &self.graph.nodes[*self.givers.get(name)?] {
                cast if cast.op_type == "Cast" => self.weights.get(cast.inputs.first()?)?.numbers(),
                constant => constant.attribute("value")?.tensor?.numbers(),
            },
        }
    }

    /// Gives each node that depends on the input its stage: that of what it reads or, if the next norm's plane does not
    /// need it, one later. So a stage passes on only what a later one cannot make of the normed plane.
    fn deal(&mut self) -> Option<()> {
        let needed = self.needed()?;
        let is_norm: HashMap<usize, usize> = self.norms.iter().enumerate().map(|(k, (place, _))| (*place, k)).collect();
        for (place, node) in self.graph.nodes.iter().enumerate() {
            let known = node.inputs.iter().filter_map(|name| self.values.get(name.as_str())).max();
            let Some(&stage) = known else { continue };
            let later = stage < self.norms.len() && needed[place].is_none_or(|norm| norm > stage);
            let stage = stage + usize::from(later);
            if is_norm.get(&place).is_some_and(|norm| *norm + 1 != stage) {
                return None; // norms side by side
            }
            self.places[place] = Some(stage);
            self.values.extend(node.outputs.iter().map(|name| (name.as_str(), stage)));
        }
        let in_order = |(number, (_, norm)): (usize, &(usize, Norm))| self.values.get(&*norm.plane) == Some(&number);
        self.norms.iter().enumerate().all(in_order).then_some(())
    }

    /// For each node, the first norm whose plane depends on it.
    fn needed(&self) -> Option<Vec<Option<usize>>> {
        let mut needed = vec![None; self.graph.nodes.len()];
        for (number, (_, norm)) in self.norms.iter().enumerate() {
            let mut open = vec![*self.givers.get(&*norm.plane)?];
            while let Some(place) = open.pop() {
                if needed[place].is_none() {
                    needed[place] = Some(number);
                    let inputs = self.graph.nodes[place].inputs.iter();
                    open.extend(inputs.filter_map(|name| self.givers.get(name.as_str())));
                }
            }
        }
        Some(needed)
    }

    /// The element type of each value: that of what it is made of.
    fn find_elements(&mut self, first: &'a str) {
        let declared = self.graph.inputs.iter().find(|input| input.name == first);
        self.elements.insert(first, declared.and_then(crate::runtime::element_of).unwrap_or(FLOAT));
        for node in &self.graph.nodes {
            let of_weight = |name: &String| self.weights.get(name).map(|weight| weight.element);
            let of_input = |name: &String| self.elements.get(name.as_str()).copied().or_else(|| of_weight(name));
            let element = match &*node.op_type {
                "Cast" => node.attribute("to").map(|attribute| attribute.int as i32),
                "Shape" | "ConstantOfShape" => Some(INT64),
                "Constant" => node.attribute("value").and_then(|value| Some(value.tensor?.element)),
                "Conv" => node.inputs.get(1).and_then(of_input),
                _ => node.inputs.iter().find_map(of_input),
            };
            if let Some(element) = element {
                self.elements.extend(node.outputs.iter().map(|name| (name.as_str(), element)));
            }
        }
    }

    /// The stage with this number, which gives what of its values is `wanted` later; what it reads is wanted then.
    fn stage(&self, number: usize, wanted: &mut BTreeSet<String>) -> Option<Stage> {
        let here = |name: &&String| self.values.get(&***name) == Some(&number) && self.givers.contains_key(&***name);
        let outputs: Vec<String> = wanted.iter().filter(here).cloned().collect();
        wanted.retain(|name| !outputs.contains(name));
        let norm = number.checked_sub(1).map(|norm| self.norms[norm].1.clone());
        let (places, reads) = self.behind(&outputs, number, norm.as_ref());
        let element = |name: &str| self.elements.get(name).copied().filter(|kind| [FLOAT, FLOAT16].contains(kind));
        if outputs.is_empty() || outputs.iter().any(|name| element(name).is_none()) {
            return None;
        }
        wanted.extend(reads.iter().cloned());
        wanted.extend(norm.iter().map(|norm| norm.plane.clone()));
        let inputs = reads.iter().chain(norm.iter().map(|norm| &norm.normed));
        let input = |name: &String| Some(PieceInput { name: name.clone(), element: element(name)?, rank: 4 });
        let inputs = inputs.map(input).collect::<Option<_>>()?;
        let nodes = || places.iter().map(|place| &self.graph.nodes[*place]);
        let reach = self.reach(nodes());
        Some(Stage {
            piece: Piece { nodes: nodes().cloned().collect(), inputs, outputs },
            reads: reads.into_iter().collect(),
            norm,
            halo: reach.halo.next_multiple_of(reach.step),
            step: reach.step,
            attends: nodes().any(|node| GLOBAL.contains(&&*node.op_type)),
            scores: nodes().any(|node| node.op_type == "Softmax"),
            widest: reach.widest,
            grows: reach.scale,
        })
    }

    /// The nodes that it takes to make `outputs` of a normed plane and others from earlier stages, and those others.
    fn behind(&self, outputs: &[String], number: usize, norm: Option<&Norm>) -> (BTreeSet<usize>, BTreeSet<String>) {
        let (mut nodes, mut reads) = (BTreeSet::new(), BTreeSet::new());
        let mut open: Vec<&String> = outputs.iter().collect();
        while let Some(name) = open.pop() {
            let stage = self.values.get(name.as_str());
            match self.givers.get(name.as_str()) {
                _ if norm.is_some_and(|norm| norm.normed == *name) => {}
                Some(giver) if nodes.contains(giver) => {}
                Some(giver) if stage.is_none_or(|stage| *stage == number) => {
                    nodes.insert(*giver);
                    open.extend(&self.graph.nodes[*giver].inputs);
                }
                _ if stage.is_some() => drop(reads.insert(name.clone())),
                _ => {} // a weight
            }
        }
        (nodes, reads)
    }

    /// How far the nodes look, and how much they hold.
    fn reach<'n>(&self, nodes: impl Iterator<Item = &'n Node>) -> Reach {
        let mut reach = Reach { halo: 0, step: 1, widest: 1.0, scale: 1.0 };
        for node in nodes {
            match &*node.op_type {
                "Conv" => {
                    let first = |name: &str, usual: usize| {
                        let ints = node.attribute(name).map(|attribute| attribute.ints);
                        ints.and_then(|ints| usize::try_from(*ints.first()?).ok()).unwrap_or(usual)
                    };
                    let shape = node.inputs.get(1).and_then(|name| self.weight_shape(name)).unwrap_or_default();
                    let kernel = shape.get(2).map_or(1, |length| *length as usize);
                    let context = kernel.saturating_sub(1) * first("dilations", 1);
                    reach.halo += context.saturating_sub(first("pads", 0)).max(first("pads", 0)) * reach.step;
                    let (given, taken) = (shape.first().map_or(1, |n| *n), shape.get(1).map_or(1, |n| *n));
                    reach.holds(taken);
                    reach.scale /= first("strides", 1).max(1) as f64;
                    reach.step *= first("strides", 1).max(1);
                    reach.holds(given);
                }
                "Resize" | "Upsample" => {
                    reach.scale *= 2.0;
                    let nearest = node.attribute("mode").is_none_or(|mode| &*mode.text == b"nearest");
                    reach.halo += if nearest { 0 } else { 2 * reach.step };
                }
                _ => {}
            }
        }
        reach
    }

    /// The shape of a weight, behind a cast.
    fn weight_shape(&self, name: &str) -> Option<Vec<i64>> {
        match self.weights.get(name) {
            Some(weight) => Some(weight.shape.clone()),
            None => self.weight_shape_of(&self.graph.nodes[*self.givers.get(name)?]),
        }
    }

    fn weight_shape_of(&self, node: &Node) -> Option<Vec<i64>> {
        match (&*node.op_type, node.inputs.first()) {
            ("Constant", _) => Some(node.attribute("value")?.tensor?.shape),
            (_, Some(input)) => Some(self.weights.get(input)?.shape.clone()),
            _ => None,
        }
    }
}

/// What [`Stage`] tells of its nodes, on the way through them.
struct Reach {
    halo: usize,
    step: usize,
    widest: f64,
    scale: f64,
}

impl Reach {
    /// There are `channels` values to a position here.
    fn holds(&mut self, channels: i64) {
        self.widest = self.widest.max(channels as f64 * self.scale * self.scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One node, as newer exporters write a group norm, in place of five.
    #[test]
    fn a_group_normalization_is_a_cut() {
        let nodes = vec![
            Node::for_test("Conv", &["x", "first"], "a", &[]),
            Node::for_test("GroupNormalization", &["a", "gain", "offset"], "b", &[("num_groups", 2)]),
            Node::for_test("Sigmoid", &["b"], "c", &[]),
            Node::for_test("Mul", &["b", "c"], "d", &[]),
            Node::for_test("Conv", &["d", "second"], "e", &[]),
            Node::for_test("Add", &["a", "e"], "y", &[]),
        ];
        let (gain, offset) = (vec![1.0, 2.0, 3.0, 4.0], vec![0.5; 4]);
        let kernel: (&[i64], _) = (&[4, 4, 3, 3], vec![0.0; 144]);
        let graph = Structure::for_test(
            nodes,
            &[
                ("first", kernel.0, kernel.1.clone()),
                ("second", kernel.0, kernel.1),
                ("gain", &[4], gain.clone()),
                ("offset", &[4], offset.clone()),
            ],
        );
        let [first, second] = &stages(&graph, "x", "y").unwrap()[..] else { panic!("not two stages") };
        assert_eq!((&first.piece.outputs[..], &first.norm), (&["a".to_owned()][..], &None));
        let norm = second.norm.as_ref().unwrap();
        assert_eq!((&*norm.plane, &*norm.normed, norm.groups), ("a", "b", 2));
        assert_eq!((&norm.gains, &norm.offsets), (&gain, &offset));
        assert_eq!(second.reads, ["a"]);
        let inputs: Vec<_> = second.piece.inputs.iter().map(|input| &*input.name).collect();
        assert_eq!(inputs, ["a", "b"]);
        let operators: Vec<_> = second.piece.nodes.iter().map(|node| &*node.op_type).collect();
        assert_eq!(operators, ["Sigmoid", "Mul", "Conv", "Add"]);
        assert_eq!(second.halo, 2); // no padding is declared, so that all of the kernel may lie on one side
    }
}
