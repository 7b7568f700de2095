//! Which pictures belong to a grid, and what do they have in common?
use crate::{
    Axis, Cell, Error, Pipeline, Request, Result, Sheet, SheetRow,
    axis::readable,
    image::{CellPixels, GRID},
    read_infotext,
};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// Pictures of one request, in which one or two fields vary: one from column to column, the other from row to row.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The request whose fields vary.
    pub request: Request,
    /// What varies from column to column.
    pub x: Option<Axis>,
    /// What varies from row to row.
    pub y: Option<Axis>,
}

/// A picture of a [`Grid`].
#[derive(Clone, Debug)]
pub struct GridCell {
    /// Its column, from 0.
    pub column: usize,
    /// Its row, from 0.
    pub row: usize,
    /// What draws it, every field filled in.
    pub request: Request,
}

impl Grid {
    /// The numbers of columns and rows.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let length = |axis: &Option<Axis>| axis.as_ref().map_or(1, Axis::len);
        (length(&self.x), length(&self.y))
    }

    /// What is special about a cell, for people: `sampler: euler, steps: 10`.
    #[must_use]
    pub fn label(&self, column: usize, row: usize) -> String {
        let labels = [self.x.as_ref().map(|x| x.label(column)), self.y.as_ref().map(|y| y.label(row))];
        labels.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Every cell, row by row, each proved to be one that the model can draw.
    ///
    /// # Errors
    /// [`Error::Request`] for the first that is not, for two axes of one field, and for two cells that are the same
    /// picture.
    pub fn cells(&self, pipeline: &Pipeline) -> Result<Vec<GridCell>> {
        if let (Some(x), Some(y)) = (&self.x, &self.y)
            && x.field() == y.field()
        {
            return Err(Error::request(format!("both axes are of `{}`", x.field()), "name another field for one"));
        }
        if self.request.batch_count != 1 {
            let what = format!("batch count is {}, but a cell is one picture", self.request.batch_count);
            return Err(Error::request(what, "use an axis of seeds, as in `--x seed=1-4`"));
        }
        let (columns, rows) = self.size();
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row)));
        let cells: Vec<GridCell> =
            places.map(|(column, row)| self.cell(pipeline, column, row)).collect::<Result<_>>()?;
        self.check_different(&cells)?;
        Ok(cells)
    }

    /// Fails if two cells are the same picture, as with two names of one sampler.
    fn check_different(&self, cells: &[GridCell]) -> Result<()> {
        let mut seen = HashMap::new();
        for cell in cells {
            if let Some(first) = seen.insert(cell.request.to_json().to_string(), cell) {
                let label = |cell: &GridCell| self.label(cell.column, cell.row);
                let what = format!("the cells `{}` and `{}` are the same picture", label(first), label(cell));
                return Err(Error::request(what, "leave out one of the two values"));
            }
        }
        Ok(())
    }

    fn cell(&self, pipeline: &Pipeline, column: usize, row: usize) -> Result<GridCell> {
        let mut request = self.request.clone();
        for (axis, index) in [(&self.x, column), (&self.y, row)] {
            if let Some(axis) = axis {
                request = axis.apply(index, &request)?;
            }
        }
        let request = pipeline.complete(&request).map_err(|error| match error {
            Error::Request { what, hint } => {
                Error::request(format!("the cell `{}` cannot be drawn: {what}", self.label(column, row)), hint)
            }
            other => other,
        })?;
        Ok(GridCell { column, row, request })
    }

    /// What the grid says of itself: the model, the axes, and what the requests have in common.
    #[must_use]
    pub fn describe(&self, pipeline: &Pipeline, cells: &[GridCell]) -> Value {
        let axis =
            |axis: &Option<Axis>| axis.as_ref().map(|axis| json!({"field": axis.field(), "values": axis.values()}));
        json!({
            "version": concat!("petal ", env!("CARGO_PKG_VERSION")),
            "model": pipeline.name.name,
            "model_hash": pipeline.name.hash,
            "x": axis(&self.x),
            "y": axis(&self.y),
            "common": common(cells.iter().map(|cell| &cell.request)),
        })
    }

    /// The grid as one picture, whose cells are the files that `file` names.
    pub fn sheet(&self, pipeline: &Pipeline, cells: &[GridCell], file: impl Fn(&GridCell) -> PathBuf) -> Sheet {
        let labels =
            |axis: &Option<Axis>| axis.iter().flat_map(|axis| (0..axis.len()).map(|at| axis.label(at))).collect();
        let names: Vec<String> = labels(&self.y);
        let cell = |cell: &GridCell| Cell { label: String::new(), pixels: CellPixels::File(file(cell)) };
        let rows = cells.chunks(self.size().0).enumerate().map(|(row, cells)| SheetRow {
            label: names.get(row).cloned().unwrap_or_default(),
            cells: cells.iter().map(cell).collect(),
        });
        Sheet {
            caption: caption(cells.iter().map(|cell| &cell.request), pipeline.model()),
            columns: labels(&self.x),
            rows: rows.collect(),
            text: Some((GRID, self.describe(pipeline, cells).to_string())),
        }
    }
}

impl GridCell {
    /// A name for the cell's file, without a suffix: the SHA-256 of all that decides how it looks.
    #[must_use]
    pub fn name(&self, pipeline: &Pipeline) -> String {
        pipeline.hash(&self.request)
    }

    /// Whether the file at `path` is the picture of this cell, by what it says of itself.
    #[must_use]
    pub fn is_in(&self, path: &Path, pipeline: &Pipeline) -> bool {
        let info = read_infotext(path).ok().flatten();
        info.is_some_and(|info| info.whole.as_ref() == Some(&self.request) && info.model() == Some(pipeline.model()))
    }
}

/// What pictures of `model` have in common, as the caption of a sheet of them: a title, then remarks.
pub(crate) fn caption<'a>(requests: impl Iterator<Item = &'a Request>, model: &str) -> Vec<String> {
    let common = common(requests);
    let text = |name: &str| common.get(name).and_then(Value::as_str).map(|text| text.replace(['\n', '\t'], " "));
    let others = common.iter().filter(|(name, _)| *name != "prompt" && *name != "negative_prompt");
    let facts: Vec<String> = others.map(|(name, value)| format!("{name}: {}", readable(value))).collect();
    let negative = text("negative_prompt").map(|text| format!("negative prompt: {text}"));
    let (title, facts) = match text("prompt") {
        Some(prompt) => (prompt, [&facts[..], &[model.to_owned()]].concat()),
        None => (model.to_owned(), facts),
    };
    let facts = Some(facts.join(", ")).filter(|facts| !facts.is_empty());
    [title].into_iter().chain(negative).chain(facts).collect()
}

/// The fields that have the same value in every request, without those that have their default value there, but for the
/// seed.
fn common<'a>(mut requests: impl Iterator<Item = &'a Request>) -> Map<String, Value> {
    let fields = |request: &Request| {
        let mut fields = request.to_json().as_object().cloned().unwrap_or_default();
        fields.insert("seed".into(), request.seed.into());
        fields
    };
    let mut common = requests.next().map(fields).unwrap_or_default();
    for request in requests {
        let others = fields(request);
        common.retain(|name, value| others.get(name) == Some(value));
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_cells_share_is_in_the_caption() {
        let dog = Request { prompt: "a dog".into(), steps: Some(9), eta: Some(0.5), ..Request::default() };
        let other = Request { steps: Some(20), ..dog.clone() };
        let shared = Value::from(common([&dog, &other].into_iter()));
        assert_eq!(shared, json!({"prompt": "a dog", "eta": 0.5, "seed": 0}));
        assert_eq!(caption([&dog, &other].into_iter(), "tiny"), ["a dog", "eta: 0.5, seed: 0, tiny"]);
        let cat = Request { prompt: "a cat".into(), negative_prompt: "blur".into(), seed: 1, ..dog.clone() };
        let dog = Request { negative_prompt: "blur".into(), ..dog };
        let wanted = ["tiny", "negative prompt: blur", "steps: 9, eta: 0.5"];
        assert_eq!(caption([&dog, &cat].into_iter(), "tiny"), wanted);
    }
}
