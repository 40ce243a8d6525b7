//! Watches the content of the config files. A change counts when two checks in a row see the same
//! content, because a half-written file may be a valid config with half of the sources.

use std::io;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError};
use crate::source::Kinds;
use crate::watched::{Reading, Watched};

/// The file name extension of config files in a folder.
const ENDING: &str = ".yaml";

/// A file of the config.
pub struct File {
    /// Its path, as errors show it.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

/// The watched files of a config.
pub struct ConfigFiles {
    kinds: Kinds,
    watched: Watched<Vec<File>, ConfigError>,
    /// The content at the last change.
    content: Result<Vec<File>, ConfigError>,
}

// === impl ConfigFiles ===

impl ConfigFiles {
    /// Reads and parses a file, or all files of a folder, for the first time.
    pub fn open(path: &Path, kinds: Kinds) -> Result<(Self, Config), ConfigError> {
        let of = path.to_owned();
        let (watched, content) = Watched::open(Box::new(move |reading| read(reading, &of)));
        let files = Self { kinds, watched, content };
        let config = files.judge()?;
        Ok((files, config))
    }

    /// Checks for a change. Returns the new config or its errors.
    pub fn look(&mut self) -> Option<Result<Config, ConfigError>> {
        self.content = self.watched.look_settled()?;
        Some(self.judge())
    }

    /// Parses the content of the last change again.
    pub fn judge(&self) -> Result<Config, ConfigError> {
        match &self.content {
            Ok(files) => Config::parse_files(files, self.kinds),
            Err(error) => Err(again(error)),
        }
    }
}

/// Reads a config file, or all config files of a folder.
pub fn read_files(path: &Path) -> Result<Vec<File>, ConfigError> {
    read(&mut Reading::default(), path)
}

/// Reads a config file, or each config file of a folder.
pub fn read_each(path: &Path) -> Vec<Result<File, ConfigError>> {
    let mut reading = Reading::default();
    match paths(&mut reading, path) {
        Ok(paths) => paths.into_iter().map(|path| read_file(&mut reading, path)).collect(),
        Err(error) => vec![Err(error)],
    }
}

fn read(reading: &mut Reading, path: &Path) -> Result<Vec<File>, ConfigError> {
    paths(reading, path)?.into_iter().map(|path| read_file(reading, path)).collect()
}

/// The file, or all config files of the folder.
fn paths(reading: &mut Reading, path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let paths = match path.is_dir() {
        true => reading.list(path, ENDING).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?,
        false => vec![path.to_owned()],
    };
    if paths.is_empty() { Err(ConfigError::Empty(path.to_owned())) } else { Ok(paths) }
}

fn read_file(reading: &mut Reading, path: PathBuf) -> Result<File, ConfigError> {
    let text = reading
        .read(&path)
        .and_then(|content| String::from_utf8(content).map_err(|_| io::ErrorKind::InvalidData.into()));
    match text {
        Ok(text) => Ok(File { path, text }),
        Err(source) => Err(ConfigError::Read { path, source }),
    }
}

/// The same error: an `io::Error` can't be cloned.
fn again(error: &ConfigError) -> ConfigError {
    match error {
        ConfigError::Read { path, source } => {
            let source = source.raw_os_error().map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
            ConfigError::Read { path: path.clone(), source }
        }
        ConfigError::Empty(path) => ConfigError::Empty(path.clone()),
        ConfigError::Wrong(lines) => ConfigError::Wrong(lines.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::KINDS;

    fn text(sources: &[&str]) -> String {
        let source = |name: &&str| {
            format!("  - {{type: oci-queue, name: {name}, queueId: ocid1.queue.oc1.fra.{name}, namespaces: [shop]}}\n")
        };
        let sources: String = sources.iter().map(source).collect();
        format!("apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources:\n{sources}")
    }

    struct Scene {
        dir: tempfile::TempDir,
        file: ConfigFiles,
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("config.yaml"), text(&["a"])).unwrap();
            let (file, config) = ConfigFiles::open(&dir.path().join("config.yaml"), KINDS).unwrap();
            assert_eq!(config.source_count(), 1);
            Self { dir, file }
        }

        fn write(&self, text: &str) {
            std::fs::write(self.dir.path().join("config.yaml"), text).unwrap();
        }

        fn remove(&self) {
            std::fs::remove_file(self.dir.path().join("config.yaml")).unwrap();
        }

        /// The number of sources, or the error, if the file has changed.
        fn look(&mut self) -> Option<Result<usize, String>> {
            let news = self.file.look()?;
            Some(news.map(|config| config.source_count()).map_err(|error| error.to_string()))
        }
    }

    #[test]
    fn what_is_new_counts_when_two_looks_see_it() {
        let mut scene = Scene::new();
        assert_eq!(scene.look(), None);
        scene.write(&text(&["a", "b"]));
        assert_eq!(scene.look(), None);
        assert_eq!(scene.look(), Some(Ok(2)));
        assert_eq!(scene.look(), None);
    }

    #[test]
    fn half_a_file_is_never_a_config() {
        let mut scene = Scene::new();
        let whole = text(&["a", "b", "c"]);
        // Up to the end of its second source this parses well.
        for written in [0, 50, text(&["a"]).len(), text(&["a", "b"]).len(), whole.len()] {
            scene.write(&whole[..written]);
            assert_eq!(scene.look(), None, "{written} bytes");
        }
        assert_eq!(scene.look(), Some(Ok(3)));
    }

    #[test]
    fn a_file_that_is_away_for_a_moment_or_only_touched_is_no_news() {
        let mut scene = Scene::new();
        scene.remove();
        assert_eq!(scene.look(), None);
        scene.write(&text(&["a"]));
        for _ in 0..3 {
            assert_eq!(scene.look(), None);
        }
    }

    #[test]
    fn what_is_wrong_is_news_once_and_so_is_its_repair() {
        let mut scene = Scene::new();
        scene.write("kind: Config\n");
        assert_eq!(scene.look(), None);
        let error = scene.look().unwrap().unwrap_err();
        assert!(error.contains("config.yaml:1:1: `apiVersion` is missing here\n"), "{error}");
        assert!(error.contains("config.yaml:1:1: `sources` is missing here"), "{error}");
        assert_eq!(scene.look(), None);
        scene.remove();
        assert_eq!(scene.look(), None);
        assert!(scene.look().unwrap().unwrap_err().ends_with("config.yaml: No such file or directory (os error 2)"));
        assert_eq!(scene.look(), None);
        scene.write(&text(&["a"]));
        assert_eq!(scene.look(), None);
        assert_eq!(scene.look(), Some(Ok(1)));
    }

    #[test]
    fn a_folder_is_one_config() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let empty = ConfigFiles::open(dir.path(), KINDS).err().unwrap().to_string();
        assert!(empty.ends_with("there is no file whose name ends in .yaml"), "{empty}");
        write("b.yaml", &text(&["b"]));
        write("a.yaml", &text(&["a", "c"]));
        write("notes.txt", "no config");
        write(".hidden.yaml", "no config");
        let (file, config) = ConfigFiles::open(dir.path(), KINDS).unwrap();
        assert_eq!(config.source_count(), 3);
        let mut scene = Scene { dir, file };
        assert_eq!(scene.look(), None);
        std::fs::write(scene.dir.path().join("c.yaml"), text(&["a"])).unwrap();
        assert_eq!(scene.look(), None);
        let error = scene.look().unwrap().unwrap_err();
        let folder = scene.dir.path().display();
        let expected = format!(
            "{folder}/c.yaml:4:29: another queue is called \"a\", at {folder}/a.yaml:4:29: names must differ, because namespace \"shop\" may read both"
        );
        assert_eq!(error, expected);
        std::fs::remove_file(scene.dir.path().join("c.yaml")).unwrap();
        std::fs::remove_file(scene.dir.path().join("b.yaml")).unwrap();
        assert_eq!(scene.look(), None);
        assert_eq!(scene.look(), Some(Ok(2)));
    }
}
