//! Bars on a logarithmic scale, one panel for each question, as SVG.

use std::error::Error;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
}

pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) bars: Vec<Bar>,
}

const WIDTH: i32 = 860;
const LABELS: i32 = 230;
const BAR: i32 = 22;
const HEAD: i32 = 34;
const FOOT: i32 = 30;
const THEIRS: RGBColor = RGBColor(150, 150, 150);
const OURS: RGBColor = RGBColor(36, 110, 185);

fn height(panel: &Panel) -> i32 {
    HEAD + BAR * i32::try_from(panel.bars.len()).unwrap_or(0) + 10
}

/// Draws the panels below each other; what is ours in blue.
pub(crate) fn draw(
    path: &str,
    panels: &[Panel],
    note: &str,
    ours: impl Fn(&str) -> bool,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let total = panels.iter().map(height).sum::<i32>() + FOOT;
    let size = (u32::try_from(WIDTH)?, u32::try_from(total)?);
    let area = SVGBackend::new(path, size).into_drawing_area();
    let failed = |error: DrawingAreaErrorKind<std::io::Error>| error.to_string();
    area.fill(&WHITE).map_err(failed)?;
    let font = |size| ("sans-serif", size).into_font();
    let at_left = Pos::new(HPos::Left, VPos::Center);
    let mut top = 0;
    for panel in panels {
        let title = font(15).style(FontStyle::Bold).color(&BLACK);
        area.draw(&Text::new(panel.title.clone(), (12, top + 12), title))
            .map_err(failed)?;
        // From a tenth of the smallest, so that it has a bar; nothing is drawn for 0.
        let values = panel
            .bars
            .iter()
            .map(|bar| bar.value)
            .filter(|value| *value > 0.0);
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let room = f64::from(WIDTH - LABELS - 110);
        let length = |value: f64| (value / (low / 3.0)).ln() / (high / (low / 3.0)).ln() * room;
        for (bar, number) in panel.bars.iter().zip(0..) {
            let y = top + HEAD + BAR * number;
            let middle = y + BAR / 2;
            let label = font(13)
                .color(&BLACK)
                .pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(bar.label.clone(), (LABELS - 10, middle), label))
                .map_err(failed)?;
            let color = if ours(&bar.label) { OURS } else { THEIRS };
            // A drawing: a pixel more or less is nothing.
            let end = LABELS
                + if bar.value > 0.0 {
                    length(bar.value).max(2.0) as i32
                } else {
                    0
                };
            let shape = [(LABELS, y + 3), (end, y + BAR - 3)];
            area.draw(&Rectangle::new(shape, color.filled()))
                .map_err(failed)?;
            let digits = if bar.value < 10.0 && bar.value.fract() != 0.0 {
                2
            } else {
                0
            };
            let value = format!("{:.digits$}{}", bar.value, panel.unit);
            let style = font(13).color(&BLACK).pos(at_left);
            area.draw(&Text::new(value, (end + 6, middle), style))
                .map_err(failed)?;
        }
        top += height(panel);
    }
    let note = format!("Logarithmic. {note}.");
    let style = font(12).color(&RGBColor(90, 90, 90));
    area.draw(&Text::new(note, (12, top + 8), style))
        .map_err(failed)?;
    area.present().map_err(failed)?;
    Ok(())
}
