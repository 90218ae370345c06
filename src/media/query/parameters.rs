//! The query string of a request, read parameter by parameter.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::super::request::UnknownName;

/// A parameter that cannot be obeyed; the text names it and says what it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// The original's own words (contract section 1).
    #[error("{0} parameter is required")]
    Missing(&'static str),
    #[error("{0} is given more than once")]
    Repeated(&'static str),
    #[error("{name} must be {allowed}, is '{given}'")]
    NotAllowed {
        name: &'static str,
        allowed: String,
        given: String,
    },
}

/// Longest part of a value that is repeated in an error, characters.
const SHOWN: usize = 60;

/// The parameters of a request. Those that nobody asks for are ignored.
#[derive(Debug, Clone, Default)]
pub struct Parameters(BTreeMap<String, Vec<String>>);

impl Parameters {
    /// Reads a query string as browsers write them (`application/x-www-form-urlencoded`).
    pub fn parse(query: &str) -> Self {
        let mut all = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            all.entry(name.into_owned())
                .or_default()
                .push(value.into_owned());
        }
        Parameters(all)
    }

    /// The value of `name`; an empty one counts as none.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, ParameterError> {
        match self.0.get(name).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([value]) => Ok(Some(value.as_str()).filter(|v| !v.is_empty())),
            Some(_) => Err(ParameterError::Repeated(name)),
        }
    }

    /// The source.
    pub fn url(&self) -> Result<&str, ParameterError> {
        self.text("url")?.ok_or(ParameterError::Missing("url"))
    }

    pub(super) fn read<T>(
        &self,
        name: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ParameterError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(not_allowed(name, allowed, text)),
        }
    }

    pub(super) fn whole(
        &self,
        name: &'static str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, ParameterError> {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        self.read(name, &allowed, |text| {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            let value = digits.then(|| text.parse().ok())??;
            range.contains(&value).then_some(value)
        })
    }

    pub(super) fn number(
        &self,
        name: &'static str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, ParameterError> {
        let allowed = format!("a number from {} to {}", range.start(), range.end());
        self.read(name, &allowed, |text| {
            decimal(text).filter(|v| range.contains(v))
        })
    }

    pub(super) fn flag(&self, name: &'static str) -> Result<bool, ParameterError> {
        let value = self.read(name, "true or false", |text| match text {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        })?;
        Ok(value.unwrap_or(false))
    }

    pub(super) fn choice<T: FromStr<Err = UnknownName>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, ParameterError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let parsed = text.parse::<T>();
        parsed
            .map(Some)
            .map_err(|known| not_allowed(name, &known.known.join(" or "), text))
    }
}

/// The error for a value of `name`, shortened and without control characters.
pub(super) fn not_allowed(name: &'static str, allowed: &str, given: &str) -> ParameterError {
    ParameterError::NotAllowed {
        name,
        allowed: allowed.to_owned(),
        given: given
            .chars()
            .filter(|c| !c.is_control())
            .take(SHOWN)
            .collect(),
    }
}

/// Digits with at most one point between them; no signs, exponents or names.
pub(super) fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let starts = text.starts_with(|c: char| c.is_ascii_digit());
    (plain && starts).then(|| text.parse().ok())?
}
