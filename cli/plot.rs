//! `petal plot schedule`: noise levels as a picture.
use crate::{
    args::{Plot, PlotSchedule, Plotted},
    report::{self, Failure},
};
use petal_engine::{
    AUTOMATIC_SCHEDULE, LoadOptions, MODEL_SCHEDULE, Request, SCHEDULES, noise_levels, write_atomically,
};
use std::fmt::Write;

/// The picture's size, and what is kept free around the curves for words: left, top, right, bottom.
const SIZE: (f64, f64) = (960.0, 600.0);
const MARGIN: (f64, f64, f64, f64) = (70.0, 50.0, 190.0, 60.0);
/// Colours that colour-blind people can tell apart (Okabe & Ito 2008); more curves begin again, dashed, then dotted.
const COLOURS: &[&str] = &["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
/// The lowest noise level that is drawn; the last level, 0, lies on the axis below it.
const FLOOR: f64 = 0.01;

/// One curve: its name and its noise levels.
type Curve = (String, Vec<f64>);

pub(crate) fn run(arguments: &Plot) -> Result<(), Failure> {
    let Plotted::Schedule(arguments) = &arguments.what;
    let everything = [MODEL_SCHEDULE, AUTOMATIC_SCHEDULE].into_iter().chain(SCHEDULES.iter().map(|kind| kind.name));
    let names: Vec<String> =
        if arguments.names.is_empty() { everything.map(Into::into).collect() } else { arguments.names.clone() };
    let options = arguments.model.options();
    let curves: Vec<Curve> =
        names.into_iter().map(|name| curve(arguments, &options, name)).collect::<Result<_, _>>()?;
    let svg = draw(&curves);
    if arguments.output.as_os_str() == "-" {
        return report::bytes(svg.as_bytes());
    }
    if !arguments.output.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("svg")) {
        return Err(Failure::usage(
            format!("`{}` does not end in .svg", arguments.output.display()),
            "name an .svg file, which browsers show, or `-`",
        ));
    }
    write_atomically(&arguments.output, svg.as_bytes())?;
    report::path(&arguments.output)
}

fn curve(arguments: &PlotSchedule, options: &LoadOptions, name: String) -> Result<Curve, Failure> {
    let request = Request {
        scheduler: Some(name.clone()),
        sampler: arguments.sampler.clone(),
        steps: Some(arguments.steps),
        ..Request::default()
    };
    Ok((name, noise_levels(options, &request)?))
}

/// An SVG picture: steps to the right, noise levels upwards on a logarithmic scale.
fn draw(curves: &[Curve]) -> String {
    let most = curves.iter().map(|(_, levels)| levels.len()).max().unwrap_or(2).max(2) - 1;
    let highest = curves.iter().flat_map(|(_, levels)| levels).fold(1.0_f64, |highest, level| highest.max(*level));
    let frame = Frame { steps: most as f64, top: highest.log10().ceil() };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        SIZE.0, SIZE.1
    );
    frame.draw_axes(&mut svg);
    for (number, (name, levels)) in curves.iter().enumerate() {
        frame.draw_curve(&mut svg, number, name, levels);
    }
    svg + "</svg>\n"
}

/// Where things lie in the picture.
struct Frame {
    steps: f64,
    /// The decimal logarithm of the highest level shown.
    top: f64,
}

impl Frame {
    fn x(&self, step: f64) -> f64 {
        MARGIN.0 + step / self.steps * (SIZE.0 - MARGIN.0 - MARGIN.2)
    }

    fn y(&self, sigma: f64) -> f64 {
        let bottom = FLOOR.log10();
        let height = (sigma.max(FLOOR).log10() - bottom) / (self.top - bottom);
        SIZE.1 - MARGIN.3 - height * (SIZE.1 - MARGIN.1 - MARGIN.3)
    }

    /// Lines for powers of ten, numbers of steps, and what the axes mean. Writing into a String cannot fail.
    fn draw_axes(&self, svg: &mut String) {
        let (left, right) = (self.x(0.0), self.x(self.steps));
        let (low, high) = (self.y(0.0), self.y(10_f64.powf(self.top)));
        for power in FLOOR.log10() as i32..=self.top as i32 {
            let sigma = 10_f64.powi(power);
            let y = self.y(sigma);
            let label = if sigma <= FLOOR { format!("0 to {sigma}") } else { sigma.to_string() };
            let _ = writeln!(svg, "<path d=\"M{left:.1} {y:.1}H{right:.1}\" stroke=\"#ddd\"/>");
            let _ =
                writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", left - 8.0, y + 4.0);
        }
        let stride = (self.steps / 10.0).ceil().max(1.0);
        for step in (0..=self.steps as usize).step_by(stride as usize) {
            let x = self.x(step as f64);
            let _ = writeln!(svg, "<path d=\"M{x:.1} {low:.1}V{high:.1}\" stroke=\"#eee\"/>");
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{step}</text>", low + 20.0);
        }
        let _ = writeln!(svg, "<text x=\"{left:.1}\" y=\"28\" font-weight=\"bold\">noise level (sigma)</text>");
        let _ = writeln!(svg, "<text x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"end\">steps taken</text>", low + 42.0);
    }

    fn draw_curve(&self, svg: &mut String, number: usize, name: &str, levels: &[f64]) {
        let colour = COLOURS[number % COLOURS.len()];
        let dash = ["", " stroke-dasharray=\"6 4\"", " stroke-dasharray=\"2 3\""][(number / COLOURS.len()).min(2)];
        let style = format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}");
        let point = |(step, sigma): (usize, &f64)| format!("{:.1},{:.1}", self.x(step as f64), self.y(*sigma));
        let points: Vec<_> = levels.iter().enumerate().map(point).collect();
        let _ = writeln!(svg, "<polyline points=\"{}\" {style}><title>{name}</title></polyline>", points.join(" "));
        for point in &points {
            if let Some((x, y)) = point.split_once(',') {
                let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"2.5\" fill=\"{colour}\"/>");
            }
        }
        let (x, y) = (SIZE.0 - MARGIN.2 + 16.0, MARGIN.1 + 8.0 + 20.0 * number as f64);
        let _ = writeln!(svg, "<path d=\"M{x:.1} {y:.1}h24\" {style}/>");
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{name}</text>", x + 30.0, y + 4.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_and_level_is_in_the_picture() {
        let svg = draw(&[("karras".into(), vec![14.6, 1.0, 0.03, 0.0]), ("b".into(), vec![700.0, 0.0])]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 6);
        assert!(svg.contains(">karras</text>") && svg.contains(">1000</text>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
