//! Where can an autoencoder's graph be cut, so that each stage between two cuts works on a strip of the picture as it
//! would on the whole?
//!
//! All layers of such a network look at a small neighbourhood, but for two. A group norm (Wu & He 2018) takes mean and
//! variance over the whole plane: the graph is cut in front of each, and the next stage is given the two numbers, which
//! are known by then. Attention looks at everything: its stage takes the plane in one piece. So nothing is estimated, and
//! no seam can be: the picture is that of the whole graph, but for rounding.
//!
//! Exporters of torch write a group norm as `Reshape` to `[batch, groups, rest]`, `InstanceNormalization` with scale 1
//! and bias 0, `Reshape` back, `Mul`, `Add` (`torch/onnx/symbolic_opset9.py`, `group_norm`).
use crate::runtime::{
    Piece, PieceInput,
    onnx::{FLOAT, FLOAT16, INT64, Node, Structure, Weight},
};
use std::collections::{BTreeSet, HashMap, HashSet};

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
];
/// Operators of attention.
const GLOBAL: &[&str] = &["MatMul", "Gemm", "Softmax", "MultiHeadAttention", "Attention"];

/// The nodes between two cuts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stage {
    /// The nodes; all inputs but the norm's two numbers, and all outputs, are planes `[1, channels, height, width]`.
    pub(super) piece: Piece,
    /// The planes that it reads.
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

/// A group norm whose statistics come from outside.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Norm {
    /// The plane that is normed.
    pub(super) plane: String,
    pub(super) groups: usize,
    pub(super) epsilon: f32,
    /// The input `[1, groups, 1]` for the means.
    pub(super) mean: String,
    /// The input `[1, groups, 1]` for 1 / √(variance + epsilon).
    pub(super) rate: String,
}

/// The stages of the graph from its input to its output `last`, in order; `None` if it has another kind of norm, or an
/// operator that is not known to be local.
pub(super) fn stages(graph: &Structure, first: &str, last: &str) -> Option<Vec<Stage>> {
    let cuts = Cuts::new(graph, first)?;
    (0..=cuts.norms.len()).map(|number| cuts.stage(number, last)).collect()
}

/// A graph whose nodes are dealt out to stages.
struct Cuts<'a> {
    graph: &'a Structure,
    weights: HashMap<String, Weight>,
    /// Which node gives a value.
    givers: HashMap<&'a str, usize>,
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
        let (values, places) = (HashMap::from([(first, 0)]), vec![None; graph.nodes.len()]);
        let mut cuts = Self { graph, weights, givers, values, places, norms: Vec::new(), elements: HashMap::new() };
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
            if node.op_type != "InstanceNormalization" {
                continue;
            }
            let [plane, scale, bias] = &node.inputs[..] else { return None };
            let (scale, bias) = (self.numbers(scale)?, self.numbers(bias)?);
            let differ = |numbers: &[f32], from: f32| numbers.iter().any(|number| (number - from).abs() > 1e-6);
            if differ(&scale, 1.0) || differ(&bias, 0.0) {
                return None;
            }
            self.norms.push((
                place,
                Norm {
                    plane: self.behind_shapes(plane)?.to_owned(),
                    groups: scale.len(),
                    epsilon: node.attribute("epsilon").map_or(1e-5, |attribute| attribute.float),
                    mean: format!("petal.mean.{place}"),
                    rate: format!("petal.rate.{place}"),
                },
            ));
        }
        Some(())
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
            None => self.graph.nodes[*self.givers.get(name)?].attribute("value")?.tensor?.numbers(),
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

    fn stage(&self, number: usize, last: &str) -> Option<Stage> {
        let own = |place: &usize| self.places[*place] == Some(number);
        let places: Vec<usize> = (0..self.graph.nodes.len()).filter(own).collect();
        let nodes = || places.iter().map(|place| &self.graph.nodes[*place]);
        let before = |name: &&str| self.values.get(name).is_some_and(|stage| *stage < number || self.is_first(name));
        let reads: BTreeSet<&str> = nodes().flat_map(|node| &node.inputs).map(String::as_str).filter(before).collect();
        let later = |place: &usize| self.places[*place].is_some_and(|stage| stage > number);
        let wanted: HashSet<&str> = (0..self.graph.nodes.len())
            .filter(later)
            .flat_map(|place| &self.graph.nodes[place].inputs)
            .map(String::as_str)
            .chain([last])
            .collect();
        let given = nodes().flat_map(|node| &node.outputs).filter(|name| wanted.contains(name.as_str()));
        let outputs: Vec<String> = given.cloned().collect();
        let element = |name: &str| self.elements.get(name).copied().filter(|kind| [FLOAT, FLOAT16].contains(kind));
        if outputs.is_empty() || reads.is_empty() || outputs.iter().any(|name| element(name).is_none()) {
            return None;
        }
        let norm = number.checked_sub(1).map(|norm| self.norms[norm].1.clone());
        let input = |name: &str, rank| Some(PieceInput { name: name.into(), element: element(name)?, rank });
        let mut inputs: Vec<_> = reads.iter().map(|name| input(name, 4)).collect::<Option<_>>()?;
        if let Some(norm) = &norm {
            let element = element(&norm.plane)?;
            let numbers = [&norm.mean, &norm.rate].map(|name| PieceInput { name: name.clone(), element, rank: 3 });
            inputs.extend(numbers);
        }
        let reach = self.reach(&places);
        Some(Stage {
            piece: Piece { nodes: self.pieces(&places, norm.as_ref()), inputs, outputs },
            reads: reads.into_iter().map(str::to_owned).collect(),
            norm,
            halo: reach.halo.next_multiple_of(reach.step),
            step: reach.step,
            attends: nodes().any(|node| GLOBAL.contains(&&*node.op_type)),
            scores: nodes().any(|node| node.op_type == "Softmax"),
            widest: reach.widest,
            grows: reach.scale,
        })
    }

    fn is_first(&self, name: &str) -> bool {
        !self.givers.contains_key(name)
    }

    /// The nodes at `places`, behind those that make their constants, with the norm told its numbers.
    fn pieces(&self, places: &[usize], norm: Option<&Norm>) -> Vec<Node> {
        let mut all: BTreeSet<usize> = places.iter().copied().collect();
        let mut open: Vec<usize> = places.to_vec();
        while let Some(place) = open.pop() {
            let givers = self.graph.nodes[place].inputs.iter().filter_map(|name| self.givers.get(name.as_str()));
            open.extend(givers.filter(|giver| self.places[**giver].is_none() && all.insert(**giver)));
        }
        let mut nodes = Vec::new();
        for node in all.into_iter().map(|place| &self.graph.nodes[place]) {
            match norm {
                Some(norm) if node.op_type == "InstanceNormalization" => nodes.extend(told(node, norm)),
                _ => nodes.push(node.clone()),
            }
        }
        nodes
    }

    /// How far the nodes at `places` look, and how much they hold.
    fn reach(&self, places: &[usize]) -> Reach {
        let mut reach = Reach { halo: 0, step: 1, widest: 1.0, scale: 1.0 };
        for node in places.iter().map(|place| &self.graph.nodes[*place]) {
            match &*node.op_type {
                "Conv" => {
                    let first = |name: &str, usual: usize| {
                        let ints = node.attribute(name).map(|attribute| attribute.ints);
                        ints.and_then(|ints| usize::try_from(*ints.first()?).ok()).unwrap_or(usual)
                    };
                    let shape = node.inputs.get(1).and_then(|name| self.weight_shape(name)).unwrap_or_default();
                    let kernel = shape.get(2).map_or(1, |length| *length as usize);
                    reach.halo += (kernel.saturating_sub(1) * first("dilations", 1)) * reach.step;
                    let (given, taken) = (shape.first().map_or(1, |n| *n), shape.get(1).map_or(1, |n| *n));
                    reach.holds(taken);
                    reach.scale /= first("strides", 1).max(1) as f64;
                    reach.step *= first("strides", 1).max(1);
                    reach.holds(given);
                }
                "Resize" | "Upsample" => {
                    reach.scale *= 2.0;
                    reach.halo += 2 * reach.step;
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

/// The norm `node` in two, with its mean and rate as inputs.
fn told(node: &Node, norm: &Norm) -> [Node; 2] {
    let centred = format!("{}.centred", norm.mean);
    let step = |op: &str, inputs: [&String; 2], output: &String| Node {
        inputs: inputs.map(Clone::clone).to_vec(),
        outputs: vec![output.clone()],
        name: output.clone(),
        op_type: op.into(),
        ..Node::default()
    };
    [step("Sub", [&node.inputs[0], &norm.mean], &centred), step("Mul", [&centred, &norm.rate], &node.outputs[0])]
}
