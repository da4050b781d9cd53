//! A line plot as SVG, with a logarithmic horizontal axis and a vertical axis that starts at zero.

/// A line, or a single point.
pub(super) struct Series {
    pub(super) name: &'static str,
    /// In ascending order of x.
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 48.0;
const COLOURS: [&str; 3] = ["#0b6e99", "#b3541e", "#4a7c2c"];

/// Draws all series over the same axes, which are labelled `across` and `up`.
pub(super) fn draw(across: &str, up: &str, series: &[Series]) -> String {
    let all = || series.iter().flat_map(|it| &it.points);
    let (least, most) = all().fold((f64::MAX, 1.0_f64), |(least, most), (x, _)| {
        (least.min(*x), most.max(*x))
    });
    let highest = all().fold(1.0_f64, |highest, (_, y)| highest.max(*y)).ceil();
    let span = (most / least).ln().max(f64::EPSILON);
    let at = |x: f64, y: f64| {
        (
            LEFT + (x / least).ln() / span * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - y / highest * (HEIGHT - TOP - BOTTOM),
        )
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    let mut put = |line: String| {
        svg.push_str(&line);
        svg.push('\n');
    };
    let (left, right, floor) = (LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut y = 0.0;
    while y <= highest {
        let (_, height) = at(least, y);
        put(format!(
            "<path d=\"M{left} {height:.1}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{y}</text>",
            left - 8.0,
            height + 4.0
        ));
        y += 1.0;
    }
    let mut ticks: Vec<f64> = all().map(|(x, _)| *x).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for x in ticks {
        let (place, _) = at(x, 0.0);
        put(format!(
            "<path d=\"M{place:.1} {floor}v5\" stroke=\"#333\"/>\
             <text x=\"{place:.1}\" y=\"{}\" text-anchor=\"middle\">{x}</text>",
            floor + 18.0
        ));
    }
    put(format!("<path d=\"M{left} {floor}H{right}\" stroke=\"#333\"/>"));
    put(format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{across}</text><text x=\"8\" y=\"14\">{up}</text>",
        f64::midpoint(left, right),
        HEIGHT - 8.0
    ));
    for (index, (it, colour)) in series.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let places: Vec<_> = it.points.iter().map(|(x, y)| at(*x, *y)).collect();
        let line: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        put(format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        ));
        for (x, y) in places {
            put(format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"
            ));
        }
        #[expect(clippy::cast_precision_loss, reason = "there are a few series")]
        let height = floor - 14.0 - 18.0 * index as f64;
        put(format!(
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{height:.1}\">{}</text>",
            left + 16.0,
            height - 4.0,
            left + 26.0,
            it.name
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_values_are_drawn_further_right_and_higher() {
        let svg = draw(
            "sessions",
            "us",
            &[Series {
                name: "line",
                points: vec![(1000.0, 2.0), (10_000.0, 4.0)],
            }],
        );
        let (_, rest) = svg.split_once("<polyline points=\"").unwrap();
        let (points, _) = rest.split_once('"').unwrap();
        let numbers: Vec<f64> = points.split([' ', ',']).map(|number| number.parse().unwrap()).collect();
        assert_eq!(
            numbers,
            [
                LEFT,
                HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) / 2.0,
                WIDTH - RIGHT,
                TOP
            ]
        );
    }
}
