//! What does a graph that makes pictures larger take and give?
use super::plane::Wanted;
use crate::{
    Error, Result,
    runtime::{Graph, Port, Tensor},
};

/// Sides that are tried, each with the multiple that it stands for: the smallest that works is what the graph wants.
const PROBES: [(usize, usize); 7] = [(17, 1), (18, 2), (20, 4), (24, 8), (48, 16), (32, 32), (64, 64)];

/// A graph that turns pixels into more pixels: one input `[1, 3, height, width]`, one output with both sides larger by
/// the same whole number, whatever their names.
pub(super) struct Enlarger {
    graph: Graph,
    input: String,
    output: String,
    /// Pixels of the output for each of the input, along each side.
    pub(super) scale: usize,
    /// What the height and the width must be.
    pub(super) wanted: [Wanted; 2],
}

impl Enlarger {
    /// Looks at the graph's ports and runs it on a few pixels.
    ///
    /// # Errors
    /// [`Error::Model`] if it is no such graph.
    pub(super) fn new(name: &str, graph: Graph) -> Result<Self> {
        let ([input], [output]) = (graph.inputs(), graph.outputs()) else {
            let list = |ports: &[Port]| ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ");
            let what = format!("it takes {} and gives {}", list(graph.inputs()), list(graph.outputs()));
            return Err(no_upscaler(name, &what));
        };
        let [None | Some(1), None | Some(3), height, width] = input.axes[..] else {
            return Err(no_upscaler(name, &format!("its input `{}` is {}", input.name, input.shape_text())));
        };
        let (input, output) = (input.name.clone(), output.name.clone());
        let mut enlarger = Self { graph, input, output, scale: 1, wanted: [Wanted::Multiple(1); 2] };
        enlarger.probe(name, height, width)?;
        Ok(enlarger)
    }

    /// Learns scale and sizes from runs.
    fn probe(&mut self, name: &str, height: Option<usize>, width: Option<usize>) -> Result<()> {
        let mut fault = String::new();
        for (side, multiple) in PROBES {
            let [h, w] = [height, width].map(|fixed| fixed.unwrap_or(side));
            let found = match self.run([h, w], vec![0.5; 3 * h * w]) {
                Ok(found) => found,
                Err(Error::Runtime { source, .. }) => {
                    fault = source.to_string();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let scale = found.shape.get(2).map_or(0, |length| length / h);
            if scale > 0 && found.shape == [1, 3, h * scale, w * scale] {
                let wanted = |fixed: Option<usize>| fixed.map_or(Wanted::Multiple(multiple), Wanted::Fixed);
                (self.scale, self.wanted) = (scale, [wanted(height), wanted(width)]);
                return Ok(());
            }
            fault = format!("it makes {} of {:?}", found.shape_text(), [1, 3, h, w]);
        }
        Err(no_upscaler(name, &fault))
    }

    /// The pixels that the graph makes of `[3, height, width]`, each of any value.
    pub(super) fn run(&mut self, [height, width]: [usize; 2], pixels: Vec<f32>) -> Result<Tensor> {
        self.graph.bind(&self.input, Tensor::floats([1, 3, height, width], pixels))?;
        self.graph.run(&self.output)
    }
}

fn no_upscaler(name: &str, what: &str) -> Error {
    Error::model(
        format!("`{name}` is no upscaler: {what}"),
        "give a graph that turns an image [1, 3, height, width] into one larger by a whole number, as scripts/upscaler.py \
         makes it",
    )
}
