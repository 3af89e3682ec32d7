//! Pictures of what was measured, as SVG.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::table::number;

/// How large one panel is, in pixels.
const PANEL: (u32, u32) = (560, 380);

/// The colours of lines, which people with colour blindness can distinguish.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(110, 110, 110),
];

/// One diagram.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) scale: Scale,
    pub(crate) lines: Vec<Line>,
}

/// Which axes are divided by powers of ten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    /// Both.
    Log,
    /// The one of x; the other begins at zero.
    LogX,
}

/// One line, or a row of points.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) points: Vec<Point>,
}

/// A point, and between which values it may lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) range: Option<(f64, f64)>,
}

/// The panels beside each other; `None` if there is nothing to see in any of them.
pub(crate) fn svg(panels: &[Panel]) -> Option<String> {
    let panels: Vec<&Panel> = panels.iter().filter(|panel| panel.lines.iter().any(has_points)).collect();
    let count = u32::try_from(panels.len()).ok().filter(|count| *count > 0)?;
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (PANEL.0 * count, PANEL.1)).into_drawing_area();
        area.fill(&WHITE).expect(STRING);
        for (panel, area) in panels.iter().zip(area.split_evenly((1, panels.len()))) {
            draw(panel, &area);
        }
        area.present().expect(STRING);
    }
    Some(text)
}

const STRING: &str = "invariant: text is drawn into a string, which takes everything";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn has_points(line: &Line) -> bool {
    !line.points.is_empty()
}

fn draw(panel: &Panel, area: &Area<'_>) {
    let (x, y) = extent(panel);
    match panel.scale {
        Scale::Linear => chart(panel, area, x, y),
        Scale::Log => chart(panel, area, x.log_scale().with_key_points(places(panel)), y.log_scale()),
        Scale::LogX => chart(panel, area, x.log_scale().with_key_points(places(panel)), y),
    }
}

fn chart<X, Y>(panel: &Panel, area: &Area<'_>, x: X, y: Y)
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(58)
        .build_cartesian_2d(x, y)
        .expect(STRING);
    chart
        .configure_mesh()
        .x_desc(panel.x)
        .y_desc(panel.y)
        .x_label_formatter(&|value| number(*value))
        .y_label_formatter(&|value| number(*value))
        .light_line_style(WHITE)
        .draw()
        .expect(STRING);
    for (line, colour) in panel.lines.iter().filter(|line| has_points(line)).zip(COLOURS.iter().cycle()) {
        let points = || line.points.iter().map(|point| (point.x, point.y));
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)))
            .expect(STRING)
            .label(line.label.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        let bars = line.points.iter().filter_map(|point| {
            let (least, max) = point.range?;
            Some(PathElement::new([(point.x, least), (point.x, max)], colour.stroke_width(1)))
        });
        chart.draw_series(bars).expect(STRING);
        if line.points.len() < 20 {
            chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled()))).expect(STRING);
        }
    }
    chart
        .configure_series_labels()
        .position(match panel.scale {
            Scale::Linear => SeriesLabelPosition::UpperRight,
            Scale::Log | Scale::LogX => SeriesLabelPosition::UpperLeft,
        })
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(200, 200, 200))
        .draw()
        .expect(STRING);
}

/// Where there are points, from left to right.
fn places(panel: &Panel) -> Vec<f64> {
    let mut places: Vec<f64> =
        panel.lines.iter().flat_map(|line| &line.points).map(|point| point.x).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    places
}

/// From where to where the axes go: a little further than the points, and past where the labels of lines are put.
fn extent(panel: &Panel) -> (Range<f64>, Range<f64>) {
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let x = least_and_most(points().map(|point| point.x));
    let y = least_and_most(points().flat_map(|point| {
        let (least, max) = point.range.unwrap_or((point.y, point.y));
        [point.y, least, max]
    }));
    match panel.scale {
        Scale::Linear => (0.0..x.1 * 1.6, 0.0..y.1 * 1.05),
        Scale::Log => (x.0 * 0.9..x.1 * 1.1, y.0 * 0.8..y.1 * 1.5),
        Scale::LogX => (x.0 * 0.9..x.1 * 1.1, 0.0..y.1 * 1.4),
    }
}

fn least_and_most(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, max) =
        values.fold((f64::INFINITY, 0.0_f64), |(least, max), value| (least.min(value), max.max(value)));
    // A logarithm needs something above zero.
    (least.clamp(1e-3, 1e12), max.max(2e-3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(scale: Scale, points: &[(f64, f64)]) -> Panel {
        let point = |&(x, y): &(f64, f64)| Point { x, y, range: Some((y * 0.9, y * 1.1)) };
        let line = Line { label: "a < b & c".to_owned(), points: points.iter().map(point).collect() };
        Panel { title: "A & B", x: "nodes", y: "ms", scale, lines: vec![line] }
    }

    #[test]
    fn a_picture_is_valid_xml_with_its_words_in_it() {
        for scale in [Scale::Linear, Scale::Log, Scale::LogX] {
            let text = svg(&[panel(scale, &[(3.0, 10.0), (50.0, 900.0)])]).unwrap();
            let document = roxmltree::Document::parse(&text).unwrap();
            assert!(document.root_element().has_tag_name(("http://www.w3.org/2000/svg", "svg")));
            let has_text = |words| {
                document.descendants().any(|node| node.text().is_some_and(|text| text.trim() == words))
            };
            for words in ["A & B", "a < b & c", "nodes", "ms"] {
                assert!(has_text(words));
            }
            // Where sizes are far apart, the axis names those that were measured.
            assert!(scale == Scale::Linear || (has_text("3") && has_text("50") && !has_text("20")));
        }
    }

    #[test]
    fn nothing_measured_is_no_picture_and_one_point_or_zero_is_one() {
        assert_eq!(svg(&[panel(Scale::Log, &[])]), None);
        assert!(svg(&[panel(Scale::Log, &[(0.0, 0.0)])]).is_some());
    }

    #[test]
    fn panels_stand_beside_each_other() {
        let one = panel(Scale::Linear, &[(1.0, 1.0)]);
        let text = svg(&[one.clone(), panel(Scale::Log, &[]), one]).unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        assert_eq!(document.root_element().attribute("width"), Some("1120"));
    }
}
