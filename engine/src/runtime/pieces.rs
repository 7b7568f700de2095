//! How does a piece of a graph become a graph of its own?
use super::{
    Graph, GraphSource, Runtime, Settings, Tensor,
    graph::{Cancel, Element, failed_while, from_value, lengths, unread},
    onnx::{self, Model, Node, Output, Structure},
    session::prepare,
    weights,
};
use crate::{Error, Result};
use ort::value::{DynValue, Tensor as OrtTensor};
use prost::{Message, bytes::Bytes};
use std::collections::HashSet;

/// Some nodes of a graph that are to run by themselves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    /// In an order in which they can run. The weights that they read come along.
    pub(crate) nodes: Vec<Node>,
    /// The values that come from outside.
    pub(crate) inputs: Vec<PieceInput>,
    /// The values that are wanted.
    pub(crate) outputs: Vec<String>,
}

/// A value that a piece takes in; all its axes are free.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PieceInput {
    pub(crate) name: String,
    /// One of `TensorProto.DataType`.
    pub(crate) element: i32,
    /// The number of axes.
    pub(crate) rank: usize,
}

/// `TypeProto` of a tensor: element type and shape.
#[derive(Clone, PartialEq, Message)]
struct Kind {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorKind>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorKind {
    #[prost(int32, tag = "1")]
    element: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    /// Each a `TensorShapeProto.Dimension`; empty: any length.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    axes: Vec<Bytes>,
}

/// The element type that a graph's input declares.
pub(crate) fn element_of(input: &Output) -> Option<i32> {
    Kind::decode(input.kind.clone()?).ok()?.tensor.map(|tensor| tensor.element)
}

/// A graph's file, read, so that pieces of it can be loaded one by one.
pub(crate) struct Dissected {
    name: String,
    model: Model,
    structure: Structure,
    origin: (Runtime, GraphSource, Settings),
    cancel: Cancel,
}

impl Graph {
    /// Reads the file of this graph again. Weights inside it stay in memory as long as what is returned.
    pub(crate) fn dissected(&self) -> Result<Dissected> {
        let bytes = match &self.origin.1 {
            GraphSource::Memory(bytes) => Bytes::from_static(bytes),
            GraphSource::File(path) => Bytes::from(std::fs::read(path).map_err(Error::io("read", path))?),
        };
        let mut model = onnx::read(&self.name, bytes)?;
        let mut structure = model.graph.take().unwrap_or_default();
        if let GraphSource::File(path) = &self.origin.1 {
            structure.take_in(|file, start, length| weights::read_part(path, file, start, length).ok());
        }
        Ok(Dissected {
            name: self.name.clone(),
            model,
            structure,
            origin: self.origin.clone(),
            cancel: self.cancel.clone(),
        })
    }
}

impl Dissected {
    /// What the graph is made of.
    pub(crate) fn structure(&self) -> &Structure {
        &self.structure
    }

    /// Loads a piece of it, on the same device.
    pub(crate) fn load(&self, piece: &Piece) -> Result<Graph> {
        let read: HashSet<&str> = piece.nodes.iter().flat_map(|node| &node.inputs).map(String::as_str).collect();
        let weights = self.structure.weights.iter().zip(self.structure.weights());
        let weights = weights.filter(|(_, weight)| read.contains(&*weight.name)).map(|(bytes, _)| bytes.clone());
        let input = |input: &PieceInput| {
            let shape = Shape { axes: vec![Bytes::new(); input.rank] };
            let kind = Kind { tensor: Some(TensorKind { element: input.element, shape: Some(shape) }) };
            Output { name: input.name.clone(), kind: Some(Bytes::from(kind.encode_to_vec())) }
        };
        let output = |name: &String| Output { name: name.clone(), kind: None };
        let graph = Structure {
            nodes: piece.nodes.clone(),
            name: Some("piece".into()),
            weights: weights.collect(),
            inputs: piece.inputs.iter().map(input).collect(),
            outputs: piece.outputs.iter().map(output).collect(),
        };
        let weight_files = graph.weight_files();
        let bytes = Model { graph: Some(graph), ..self.model.clone() }.encode_to_vec();
        let (runtime, source, settings) = &self.origin;
        let mut builder = prepare(runtime, settings)?;
        if let GraphSource::File(path) = source {
            builder = weights::find_beside(builder, path, &weight_files)?;
        }
        Graph::commit(&self.name, self.origin.clone(), &self.cancel, builder, |builder| {
            builder.commit_from_memory(&bytes)
        })
    }
}

/// Memory for an input that is filled again and again.
#[derive(Default)]
pub(crate) struct Feed(Option<(Vec<usize>, DynValue)>);

impl Graph {
    /// Gives the input `name` what `fill` writes into `feed`, whose memory is used again if it has this shape.
    pub(crate) fn bind_filled(
        &mut self,
        name: &str,
        shape: [usize; 4],
        feed: &mut Feed,
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<()> {
        let zeros = || vec![0.0; shape.iter().product()];
        if self.input(name)?.element != Element::F32 {
            let mut values = zeros();
            fill(&mut values);
            return self.bind(name, Tensor::floats(shape, values));
        }
        let making = |error: ort::Error| failed_while(format!("making `{name}`"))(error);
        let kept = feed.0.take().filter(|(kept, _)| *kept == shape).map(|(_, value)| value);
        let fresh = || Ok(OrtTensor::from_array((shape.to_vec(), zeros())).map_err(making)?.into_dyn());
        let mut value = kept.map_or_else(fresh, Ok)?;
        fill(value.try_extract_tensor_mut::<f32>().map_err(making)?.1);
        self.binding.bind_input(name, &value).map_err(failed_while(format!("binding `{name}` of `{}`", self.name)))?;
        feed.0 = Some((shape.to_vec(), value));
        Ok(())
    }

    /// Runs the graph on what is bound and shows `take` every output: name, shape and numbers. With `again`, inputs are of
    /// the shapes of the last run, so that the memory of its outputs is used again.
    pub(crate) fn run_each(
        &mut self,
        again: bool,
        mut take: impl FnMut(&str, &[usize], &[f32]) -> Result<()>,
    ) -> Result<()> {
        let graph = self.name.clone();
        self.run_with(again, |name, element, value| {
            let reading = |error: ort::Error| failed_while(format!("reading `{name}`"))(error);
            if element == Element::F32 {
                let (shape, numbers) = value.try_extract_tensor::<f32>().map_err(reading)?;
                return take(name, &lengths(shape), numbers);
            }
            let tensor = from_value(element, value).map_err(reading)?.ok_or_else(|| unread(&graph, name))?;
            take(name, &tensor.shape.clone(), &tensor.into_floats())
        })
    }
}
