//! One ONNX graph on one device.
use super::{
    Runtime, Settings, Tensor, Values, onnx,
    session::{cannot_load, check_placement, is_out_of_memory, prepare},
    weights,
};
use crate::{Error, Result};
use half::f16;
use ort::{
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    session::{IoBinding, RunOptions, Session, builder::SessionBuilder},
    value::{DynValue, Tensor as OrtTensor, TensorElementType, ValueType},
};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Stops a running picture from another thread.
#[derive(Clone)]
pub struct Cancel {
    options: Arc<RunOptions>,
    asked: Arc<AtomicBool>,
}

impl Cancel {
    pub(crate) fn new() -> Result<Self> {
        let options = Arc::new(RunOptions::new().map_err(failed_while("making run options"))?);
        Ok(Self { options, asked: Arc::default() })
    }

    /// Makes the running picture end with [`Error::Cancelled`], inside a step if need be.
    pub fn cancel(&self) {
        self.asked.store(true, Ordering::SeqCst);
        let _ = self.options.terminate(); // fails only without memory; the flag above still ends the step
    }

    /// Whether somebody asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Lets later pictures run again.
    pub(crate) fn reset(&self) {
        self.asked.store(false, Ordering::SeqCst);
        let _ = self.options.unterminate();
    }
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cancel").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// Where a graph's bytes are.
#[derive(Clone, Debug)]
pub(crate) enum GraphSource {
    /// A file, with its weights inside or beside it; weights beside it are mapped, not read.
    File(PathBuf),
    /// Bytes in memory, weights inside.
    Memory(&'static [u8]),
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
    I64,
    I32,
    Other,
}

/// An input or output of a graph.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) element: Element,
    /// The length of each axis, where the graph fixes it.
    pub(crate) axes: Vec<Option<usize>>,
}

/// An ONNX graph, loaded on a device, whose inputs stay bound until they are replaced.
pub(crate) struct Graph {
    pub(super) name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    pub(super) binding: IoBinding,
    pub(super) session: Session,
    pub(super) cancel: Cancel,
    /// What it takes to load the graph again.
    pub(super) origin: (Runtime, GraphSource, Settings),
}

impl Graph {
    /// Loads a graph; `name` is what messages call it. Its outputs come back to the host.
    pub(crate) fn load(
        runtime: &Runtime,
        name: &str,
        source: &GraphSource,
        settings: &Settings,
        cancel: &Cancel,
    ) -> Result<Self> {
        runtime.check(settings.provider)?;
        let builder = prepare(runtime, settings)?;
        let origin = (runtime.clone(), source.clone(), settings.clone());
        Self::commit(name, origin, cancel, builder, |builder| match source {
            GraphSource::File(path) => builder.commit_from_file(path),
            GraphSource::Memory(bytes) => builder.commit_from_memory(bytes),
        })
    }

    /// This graph with the nodes and outputs that `edit` adds to it, loaded beside it.
    pub(crate) fn extended(&self, edit: impl FnOnce(&onnx::Structure) -> Result<onnx::Structure>) -> Result<Self> {
        let (runtime, source, settings) = &self.origin;
        let bytes = match source {
            GraphSource::Memory(bytes) => bytes.to_vec(),
            GraphSource::File(path) => weights::read_with_room(path).map_err(Error::io("read", path))?,
        };
        let onnx::Extended { bytes, weight_files } = onnx::extended(&self.name, bytes, edit)?;
        let mut builder = prepare(runtime, settings)?;
        if let GraphSource::File(path) = source {
            builder = weights::find_beside(builder, path, &weight_files)?;
        }
        Self::commit(&self.name, self.origin.clone(), &self.cancel, builder, |builder| {
            builder.commit_from_memory(&bytes)
        })
    }

    pub(super) fn commit(
        name: &str,
        origin: (Runtime, GraphSource, Settings),
        cancel: &Cancel,
        mut builder: SessionBuilder,
        load: impl FnOnce(&mut SessionBuilder) -> ort::Result<Session>,
    ) -> Result<Self> {
        let session = load(&mut builder).map_err(|error| cannot_load(name, origin.2.provider, error.message()))?;
        check_placement(name, &session, origin.2.provider)?;
        let binding = session.create_binding().map_err(failed_while(format!("preparing `{name}`")))?;
        let port = |outlet: &ort::value::Outlet| Port::new(outlet.name(), outlet.dtype());
        let inputs = session.inputs().iter().map(port).collect();
        let outputs = session.outputs().iter().map(port).collect();
        Ok(Self { name: name.into(), inputs, outputs, binding, session, cancel: cancel.clone(), origin })
    }

    /// Every input.
    pub(crate) fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Every output.
    pub(crate) fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The input called `name`.
    pub(crate) fn input(&self, name: &str) -> Result<&Port> {
        self.inputs.iter().find(|port| port.name == name).ok_or_else(|| self.lacks("input", name, &self.inputs))
    }

    /// The output called `name`.
    pub(crate) fn output(&self, name: &str) -> Result<&Port> {
        self.outputs.iter().find(|port| port.name == name).ok_or_else(|| self.lacks("output", name, &self.outputs))
    }

    /// Fails when the graph has an input that is not one of `names`.
    pub(crate) fn takes_only(&self, names: &[&str]) -> Result<()> {
        match self.inputs.iter().find(|port| !names.contains(&port.name.as_str())) {
            None => Ok(()),
            Some(port) => Err(Error::model(
                format!("`{}` wants an input `{}` that nothing fills", self.name, port.name),
                format!("use an export whose inputs are: {}", names.join(", ")),
            )),
        }
    }

    fn lacks(&self, kind: &str, name: &str, ports: &[Port]) -> Error {
        let there: Vec<_> = ports.iter().map(|port| port.name.as_str()).collect();
        Error::model(
            format!("`{}` has no {kind} `{name}`", self.name),
            format!("use another export of the model; the {kind}s of this one are: {}", there.join(", ")),
        )
    }

    /// Gives the input `name` a value for this and later runs, in the type and rank that the graph wants.
    pub(crate) fn bind(&mut self, name: &str, tensor: Tensor) -> Result<()> {
        let port = self.input(name)?;
        let tensor = spread(port, tensor);
        let shape = self.fit(port, &tensor)?;
        let value = to_value(port.element, shape, tensor)
            .ok_or_else(|| self.odd_type(port))?
            .map_err(failed_while(format!("making `{name}`")))?;
        self.binding.bind_input(name, &value).map_err(failed_while(format!("binding `{name}` of `{}`", self.name)))
    }

    /// The shape in which `tensor` fits `port`.
    fn fit(&self, port: &Port, tensor: &Tensor) -> Result<Vec<usize>> {
        let shape = tensor.shape.clone();
        let fits = shape.len() == port.axes.len()
            && shape.iter().zip(&port.axes).all(|(length, axis)| axis.is_none_or(|fixed| fixed == *length));
        if fits {
            return Ok(shape);
        }
        Err(Error::model(
            format!(
                "`{}` cannot take `{}` of shape {}: it wants {}",
                self.name,
                port.name,
                tensor.shape_text(),
                port.shape_text()
            ),
            "draw the size that the model was exported for, or export it with free axes",
        ))
    }

    fn odd_type(&self, port: &Port) -> Error {
        Error::model(
            format!("`{}` wants `{}` in a type that petal does not make", self.name, port.name),
            "export the model with 32- or 16-bit floats and 32- or 64-bit ids",
        )
    }

    /// Runs the graph on what is bound and returns the output `name`.
    pub(crate) fn run(&mut self, name: &str) -> Result<Tensor> {
        let [output] = self.run_for([name])?;
        Ok(output)
    }

    /// Runs the graph on what is bound and returns the outputs `names`.
    pub(crate) fn run_for<const N: usize>(&mut self, names: [&str; N]) -> Result<[Tensor; N]> {
        names.iter().try_for_each(|name| self.output(name).map(drop))?;
        let mut found = [const { None }; N];
        self.run_with(false, |output, element, value| {
            if let Some(place) = names.iter().position(|name| *name == output) {
                found[place] = from_value(element, value).map_err(failed_while(format!("reading `{output}`")))?;
            }
            Ok(())
        })?;
        if let Some(place) = found.iter().position(Option::is_none) {
            return Err(unread(&self.name, names[place]));
        }
        Ok(found.map(|tensor| tensor.unwrap_or_else(|| Tensor::floats([0], Vec::new()))))
    }

    /// Runs the graph on what is bound and shows `take` every output. With `again`, inputs are of the shapes of the last
    /// run, so that the memory of its outputs is used again.
    pub(super) fn run_with(
        &mut self,
        again: bool,
        mut take: impl FnMut(&str, Element, &DynValue) -> Result<()>,
    ) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        // A binding keeps the last run's outputs and fails when the next are of another shape.
        if !again {
            bind_outputs(&mut self.binding, &self.session)
                .map_err(failed_while(format!("preparing `{}`", self.name)))?;
        }
        let outputs =
            self.session.run_binding_with_options(&self.binding, &self.cancel.options).map_err(|error| match error
                .message()
            {
                message if message.contains("terminate flag") => Error::Cancelled,
                message if is_out_of_memory(message) => Error::Memory { what: format!("running `{}`", self.name) },
                _ => failed_while(format!("running `{}`", self.name))(error),
            })?;
        self.outputs.iter().try_for_each(|Port { name, element, .. }| take(name, *element, &outputs[&**name]))
    }
}

pub(super) fn unread(graph: &str, output: &str) -> Error {
    Error::model(
        format!("`{graph}` gives `{output}` in a type that petal does not read"),
        "export the model with 32- or 16-bit floats",
    )
}

impl Port {
    fn new(name: &str, kind: &ValueType) -> Self {
        let element = match kind.tensor_type() {
            Some(TensorElementType::Float32) => Element::F32,
            Some(TensorElementType::Float16) => Element::F16,
            Some(TensorElementType::Int64) => Element::I64,
            Some(TensorElementType::Int32) => Element::I32,
            _ => Element::Other,
        };
        let axes = kind.tensor_shape().map(|shape| shape.iter().map(|axis| usize::try_from(*axis).ok()).collect());
        Self { name: name.into(), element, axes: axes.unwrap_or_default() }
    }

    /// Whether it has so many axes, as far as the graph says.
    pub(crate) fn is_of_rank(&self, rank: usize) -> bool {
        self.axes.is_empty() || self.axes.len() == rank
    }

    /// The shape as messages print it: `[?, 4, ?, ?]`.
    pub(crate) fn shape_text(&self) -> String {
        let axes: Vec<_> = self.axes.iter().map(|axis| axis.map_or("?".into(), |length| length.to_string())).collect();
        format!("[{}]", axes.join(", "))
    }
}

/// Asks for every output on the host, in new memory.
fn bind_outputs(binding: &mut IoBinding, session: &Session) -> ort::Result<()> {
    let host = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)?;
    session.outputs().iter().try_for_each(|output| binding.bind_output_to_device(output.name(), &host))
}

/// More pictures at a time than any graph is made for.
const MOST_COPIES: usize = 4096;

/// A single number as often as `port` wants it, in its rank; all else as it is.
fn spread(port: &Port, tensor: Tensor) -> Tensor {
    if tensor.shape.len() > 1 || tensor.shape.iter().product::<usize>() != 1 {
        return tensor;
    }
    let shape: Vec<usize> = port.axes.iter().map(|axis| axis.unwrap_or(1)).collect();
    let count = shape.iter().try_fold(1_usize, |count, length| count.checked_mul(*length));
    let Some(count) = count.filter(|count| *count <= MOST_COPIES) else { return tensor };
    let values = match tensor.values {
        Values::Float(values) => Values::Float(values.repeat(count)),
        Values::Int(values) => Values::Int(values.repeat(count)),
    };
    Tensor { shape, values }
}

/// Numbers in the type that the graph wants; `None` for a type that petal does not make.
fn to_value(element: Element, shape: Vec<usize>, tensor: Tensor) -> Option<ort::Result<DynValue>> {
    let value = match element {
        Element::F32 => OrtTensor::from_array((shape, tensor.into_floats())).map(OrtTensor::into_dyn),
        Element::F16 => {
            let halves: Vec<f16> = tensor.into_floats().into_iter().map(f16::from_f32).collect();
            OrtTensor::from_array((shape, halves)).map(OrtTensor::into_dyn)
        }
        Element::I64 => OrtTensor::from_array((shape, tensor.into_ints())).map(OrtTensor::into_dyn),
        Element::I32 => {
            let ints: Vec<i32> = tensor.into_ints().into_iter().map(|value| value as i32).collect();
            OrtTensor::from_array((shape, ints)).map(OrtTensor::into_dyn)
        }
        Element::Other => return None,
    };
    Some(value)
}

pub(super) fn lengths(shape: &ort::value::Shape) -> Vec<usize> {
    shape.iter().map(|axis| *axis as usize).collect()
}

/// A graph's output as ours; `None` for a type that petal does not read.
pub(super) fn from_value(element: Element, value: &DynValue) -> ort::Result<Option<Tensor>> {
    let tensor = match element {
        Element::F32 => {
            let (shape, numbers) = value.try_extract_tensor::<f32>()?;
            Tensor::floats(lengths(shape), numbers.to_vec())
        }
        Element::F16 => {
            let (shape, numbers) = value.try_extract_tensor::<f16>()?;
            Tensor::floats(lengths(shape), numbers.iter().map(|number| number.to_f32()).collect())
        }
        Element::I64 => {
            let (shape, numbers) = value.try_extract_tensor::<i64>()?;
            Tensor::ints(lengths(shape), numbers.to_vec())
        }
        Element::I32 | Element::Other => return Ok(None),
    };
    Ok(Some(tensor))
}

/// Turns an ONNX Runtime error into ours, saying what the engine was doing.
pub(super) fn failed_while<R>(doing: impl Into<String>) -> impl FnOnce(ort::Error<R>) -> Error {
    let doing = doing.into();
    move |error| Error::Runtime { doing, source: error.message().into() }
}
