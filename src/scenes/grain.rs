//! Tables of film grain: one for the film, made into one for each scene (grav1 contract, section 3.6).

use crate::artifact::{ArtifactError, ArtifactName};
use crate::plan::scenes::{GrainTable, MOST_GRAIN_BYTES};

use super::error::{ScenesError, StepError};
use super::project::{Project, scene_name};
use super::service::Scenes;

/// The artifact with the table of a scene.
pub(super) fn grain_name(project: &Project, nth: usize) -> Option<ArtifactName> {
    project.grain_table.as_ref()?;
    let file = format!("{}.table", scene_name(nth));
    ArtifactName::new(project.job_id(nth)?, &file).ok()
}

pub(super) fn grain_of(project: &Project, nth: usize) -> Option<String> {
    Some(grain_name(project, nth)?.to_string())
}

/// Makes the tables of all scenes, if the project has one.
pub(super) async fn part_grain(scenes: &Scenes, project: &Project) -> Result<(), StepError> {
    let (Some(source), Some(rate)) = (&project.grain_table, project.rate) else {
        return Ok(());
    };
    let table = scenes.film_grain(source).await;
    let table = table.map_err(|e| StepError::Failed(e.to_string()))?;
    for (nth, span) in project.scenes.iter().enumerate() {
        let name = grain_name(project, nth).ok_or(StepError::Cancelled)?;
        match scenes.artifacts.facts(&name).await {
            // An earlier process made it.
            Ok(_) => continue,
            Err(ArtifactError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        let mut upload = scenes.artifacts.upload(&name).await?;
        upload.write(table.of_scene(*span, rate).into()).await?;
        upload.finish().await?;
    }
    Ok(())
}

impl Scenes {
    /// Reads the table of a whole film from a source.
    pub(super) async fn film_grain(&self, source: &str) -> Result<GrainTable, ScenesError> {
        let locator = self.opener.resolve(source).await;
        let missing = || ScenesError::InputsNotFound(vec![source.to_owned()]);
        let locator = locator.map_err(|error| {
            tracing::info!(%error, "a table of film grain is refused");
            missing()
        })?;
        let told = |why: String| ScenesError::BadGrain {
            source_name: source.to_owned(),
            why,
        };
        let path = locator.path();
        let path = path.ok_or_else(|| told("it must be a file below sources.roots".into()))?;
        let facts = tokio::fs::metadata(path).await.map_err(|_| missing())?;
        if facts.len() > MOST_GRAIN_BYTES {
            return Err(told(format!("it is larger than {MOST_GRAIN_BYTES} bytes")));
        }
        let bytes = tokio::fs::read(path).await.map_err(|_| missing())?;
        GrainTable::parse(&String::from_utf8_lossy(&bytes)).map_err(|e| told(e.to_string()))
    }

    /// The table of film grain of a scene.
    ///
    /// # Errors
    /// `NoSuchProject`, `NoSuchScene` (also one without a table).
    pub fn grain_file(&self, id: &str, scene: &str) -> Result<ArtifactName, ScenesError> {
        let table = self.table();
        let entry = table.entries.get(id).ok_or(ScenesError::NoSuchProject)?;
        let nth = entry.scene_number(scene).ok_or(ScenesError::NoSuchScene)?;
        grain_name(&entry.project, nth).ok_or(ScenesError::NoSuchScene)
    }
}
