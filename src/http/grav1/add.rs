//! What `add_project` asks for: read field by field, refused in grav1's words. Pure.

use serde_json::{Map, Value};

use crate::media::{Metric, OnComplete, QualityGoal, SceneEncoder};
use crate::plan::scenes::{GRAIN_OPTION, SceneRules, take_grain_option};
use crate::scenes::{NO_WEBM, NewProject};

/// `reason` of a refusal.
pub(super) type Refusal = String;

const REQUIRED: [&str; 3] = ["input", "encoder", "encoder_params"];
const LONGEST_TEXT: usize = 4000;
const LONGEST_ID: usize = 100;
const MOST_INPUTS: usize = 1000;

/// The project that `body` asks for.
pub(super) fn parse(body: &Map<String, Value>) -> Result<NewProject, Refusal> {
    let is_missing = |field: &&&str| body.get(**field).is_none_or(Value::is_null);
    let missing: Vec<&str> = REQUIRED.iter().filter(is_missing).copied().collect();
    if !missing.is_empty() {
        return Err(format!("Missing fields {}", missing.join(",")));
    }
    let frames = |field| match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_i64()
            .map(Some)
            .ok_or("min_frames and max_frames must be of type integer"),
    };
    let (min, max) = (frames("min_frames")?, frames("max_frames")?);
    let priority = priority(body)?.unwrap_or(0.0);
    let inputs = inputs(body)?;
    let name = line(body, "encoder")?;
    let encoder = SceneEncoder::from_name(&name).ok_or_else(|| {
        let known: Vec<_> = SceneEncoder::ALL.iter().map(|e| e.name()).collect();
        format!(
            "encoder '{name}' is not known; there are {}",
            known.join(", ")
        )
    })?;
    let on_complete = on_complete(body)?.unwrap_or_default();
    if !on_complete.holds(encoder) {
        return Err(NO_WEBM.into());
    }
    let quality = quality(body)?;
    let (encoder_params, grain_table) = take_grain_option(&line(body, "encoder_params")?);
    if let Some(table) = &grain_table {
        let told = match (encoder, quality) {
            _ if table.is_empty() => Some("names no file"),
            (SceneEncoder::Aom, None) => None,
            (SceneEncoder::Aom, Some(_)) => {
                Some("cannot be had with quality: every metric counts grain as loss")
            }
            _ => Some("is for aom only"),
        };
        if let Some(told) = told {
            return Err(format!("encoder_params: {GRAIN_OPTION} {told}"));
        }
    }
    Ok(NewProject {
        inputs,
        encoder,
        encoder_params,
        grain_table,
        ffmpeg_params: line(body, "ffmpeg_params")?,
        rules: rules(body, min, max)?,
        priority,
        on_complete,
        quality,
        id: id(body)?,
    })
}

/// `None`: it is not said.
pub(super) fn priority(body: &Map<String, Value>) -> Result<Option<f64>, Refusal> {
    match body.get("priority") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_f64().filter(|p| p.is_finite());
            number
                .map(Some)
                .ok_or_else(|| "priority must be a number".into())
        }
    }
}

/// `None`: it is not said.
pub(super) fn on_complete(body: &Map<String, Value>) -> Result<Option<OnComplete>, Refusal> {
    let Some(value) = body.get("on_complete").filter(|v| !v.is_null()) else {
        return Ok(None);
    };
    let known = value.as_str().and_then(OnComplete::from_name);
    let names: Vec<String> = OnComplete::ALL
        .iter()
        .map(|o| format!("'{}'", o.name()))
        .collect();
    let told = || format!("on_complete must be one of {}", names.join(", "));
    known.map(Some).ok_or_else(told)
}

/// As [`line`]; `None`: it is not said.
pub(super) fn optional_line(
    body: &Map<String, Value>,
    field: &str,
) -> Result<Option<String>, Refusal> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => line(body, field).map(Some),
    }
}

/// One line of plain text: it is sent to workers in a header.
fn line(body: &Map<String, Value>, field: &str) -> Result<String, Refusal> {
    let value = match body.get(field) {
        None | Some(Value::Null) => return Ok(String::new()),
        Some(Value::String(text)) => text.trim(),
        Some(_) => return Err(format!("{field} must be a string")),
    };
    let plain = value.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    match plain && value.len() <= LONGEST_TEXT {
        true => Ok(value.to_owned()),
        false => Err(format!(
            "{field} must be one line of at most {LONGEST_TEXT} plain ASCII characters"
        )),
    }
}

fn inputs(body: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let told = || "input must be a list of file names".to_owned();
    let inputs: Vec<String> = match body.get("input") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(list)) => {
            let names = list.iter().map(|v| v.as_str().map(str::to_owned));
            names.collect::<Option<_>>().ok_or_else(told)?
        }
        _ => return Err(told()),
    };
    match inputs.len() {
        0 => Err("input is empty".into()),
        1..=MOST_INPUTS => Ok(inputs),
        _ => Err(format!("input must name at most {MOST_INPUTS} files")),
    }
}

fn rules(
    body: &Map<String, Value>,
    min: Option<i64>,
    max: Option<i64>,
) -> Result<SceneRules, Refusal> {
    let usual = SceneRules::default();
    let count = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    let most = match max {
        // Off.
        Some(..=0) => None,
        Some(max) => Some(count(max)),
        None => usual
            .max_frames
            .map(|m| m.max(min.map_or(0, |n| count(n.max(0))))),
    };
    let least = match min {
        Some(min) => count(min.max(1)),
        // Half of the most, so that the most can be kept.
        None => most.map_or(usual.min_frames, |m| usual.min_frames.min((m / 2).max(1))),
    };
    let threshold = match body.get("threshold") {
        None | Some(Value::Null) => usual.threshold,
        Some(value) => {
            let number = value.as_f64().filter(|t| (0.0..=255.0).contains(t));
            number.ok_or("threshold must be a number from 0 to 255")?
        }
    };
    Ok(SceneRules {
        threshold,
        min_frames: least,
        max_frames: most,
    })
}

/// `{"vmaf": 95}`, `{"ssim": 0.98}` or `{"xpsnr": 42}`.
fn quality(body: &Map<String, Value>) -> Result<Option<QualityGoal>, Refusal> {
    let value = match body.get("quality") {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    let told = || {
        let goals = Metric::ALL.iter().map(|m| {
            let range = m.goals();
            format!("{} ({} to {})", m.name(), range.start(), range.end())
        });
        let goals: Vec<String> = goals.collect();
        format!("quality must name one of {}", goals.join(", "))
    };
    let one = value
        .as_object()
        .filter(|o| o.len() == 1)
        .ok_or_else(told)?;
    let goal = one.iter().find_map(|(name, value)| {
        let metric = Metric::ALL.iter().find(|m| m.name() == name)?;
        let value = value.as_f64().filter(|v| metric.goals().contains(v))?;
        Some(QualityGoal {
            metric: *metric,
            value,
        })
    });
    goal.map(Some).ok_or_else(told)
}

/// It stands in paths and headers.
fn id(body: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    let id = match body.get("id") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(id)) if id.is_empty() => return Ok(None),
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        Some(_) => return Err("id must be a string".into()),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    match id.bytes().all(plain) && id.len() <= LONGEST_ID && !id.starts_with('.') {
        true => Ok(Some(id)),
        false => Err(format!(
            "id must be at most {LONGEST_ID} letters, digits, '.', '_' and '-', and not begin with '.'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(body: Value) -> Result<NewProject, Refusal> {
        parse(body.as_object().unwrap())
    }

    fn with(field: &str, value: Value) -> Result<NewProject, Refusal> {
        let mut body =
            json!({"input": ["a.mkv"], "encoder": "aom", "encoder_params": "--cpu-used=6"});
        body[field] = value;
        parsed(body)
    }

    #[test]
    fn three_fields_suffice() {
        let project = with("priority", json!(0.5)).unwrap();
        assert_eq!(
            (project.inputs, project.priority),
            (vec!["a.mkv".to_owned()], 0.5)
        );
        assert_eq!(project.rules, SceneRules::default());
        assert_eq!(
            with("max_frames", json!(-1)).unwrap().rules.max_frames,
            None
        );
        let rules = with("max_frames", json!(20)).unwrap().rules;
        assert_eq!((rules.min_frames, rules.max_frames), (10, Some(20)));
        let rules = with("min_frames", json!(500)).unwrap().rules;
        assert_eq!((rules.min_frames, rules.max_frames), (500, Some(500)));
        let project = with("encoder_params", json!("-b 10 --film-grain-table=g.tbl")).unwrap();
        assert_eq!(
            (
                project.encoder_params.as_str(),
                project.grain_table.as_deref()
            ),
            ("-b 10", Some("g.tbl"))
        );
        let goal = with("quality", json!({"vmaf": 95}))
            .unwrap()
            .quality
            .unwrap();
        assert_eq!((goal.metric, goal.value), (Metric::Vmaf, 95.0));
    }

    #[test]
    fn refusals_are_in_grav1s_words() {
        let missing = parsed(json!({"encoder": "aom"})).unwrap_err();
        assert_eq!(missing, "Missing fields input,encoder_params");
        for (field, value, told) in [
            ("input", json!([]), "input is empty"),
            ("priority", json!("high"), "priority must be a number"),
            (
                "min_frames",
                json!("1"),
                "min_frames and max_frames must be of type integer",
            ),
            (
                "max_frames",
                json!(1.5),
                "min_frames and max_frames must be of type integer",
            ),
        ] {
            assert_eq!(with(field, value).unwrap_err(), told);
        }
        let told = with("encoder", json!("x266")).unwrap_err();
        assert!(
            told.contains("'x266' is not known") && told.contains("svt-av1"),
            "{told}"
        );
        let body = json!({"input": ["a.mkv"], "encoder": "x265", "encoder_params": "",
            "on_complete": "merge-webm"});
        assert_eq!(parsed(body).unwrap_err(), NO_WEBM);
        for (field, value) in [
            ("encoder_params", json!("a\r\nb: c")),
            ("encoder_params", json!(3)),
            ("id", json!("../x")),
            ("id", json!("a/b")),
            ("quality", json!({"vmaf": 950})),
            ("quality", json!({"psnr": 40})),
            ("on_complete", json!("rm -rf")),
            ("input", json!([1])),
            ("threshold", json!(-1)),
            ("encoder_params", json!("--film-grain-table=")),
        ] {
            let told = with(field, value).unwrap_err();
            assert!(told.starts_with(field), "{told}");
        }
    }
}
