//! The config file, followed by its content. What is new counts when two looks in a row see the
//! same: half a file may well be a config, of half the sources.

use std::io;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError};
use crate::watched::{Reading, Watched};

/// A config file, and what is in it.
pub struct ConfigFile {
    path: PathBuf,
    file: Watched<String, io::Error>,
    /// What the last change was about.
    content: Result<String, io::Error>,
}

// === impl ConfigFile ===

impl ConfigFile {
    /// Reads and parses it for the first time.
    pub fn open(path: &Path) -> Result<(Self, Config), ConfigError> {
        let of = path.to_owned();
        let read = move |reading: &mut Reading| {
            let content = reading.read(&of)?;
            String::from_utf8(content).map_err(|_| io::ErrorKind::InvalidData.into())
        };
        let (file, content) = Watched::open(Box::new(read));
        let file = Self { path: path.to_owned(), file, content };
        let config = file.judge()?;
        Ok((file, config))
    }

    /// Looks whether there is something new: the config, or what is wrong with it.
    pub fn look(&mut self) -> Option<Result<Config, ConfigError>> {
        self.content = self.file.look_settled()?;
        Some(self.judge())
    }

    /// What the last change was about, once more.
    pub fn judge(&self) -> Result<Config, ConfigError> {
        match &self.content {
            Ok(text) => Config::parse_file(&self.path, text),
            Err(error) => Err(ConfigError::Read { path: self.path.clone(), source: again(error) }),
        }
    }
}

/// The same error: an `io::Error` cannot be cloned.
fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(sources: &[&str]) -> String {
        let source = |name: &&str| {
            format!("  - {{type: oci-queue, name: {name}, queueId: ocid1.queue.oc1.fra.{name}, namespaces: [shop]}}\n")
        };
        let sources: String = sources.iter().map(source).collect();
        format!("apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources:\n{sources}")
    }

    struct Scene {
        dir: tempfile::TempDir,
        file: ConfigFile,
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("config.yaml"), text(&["a"])).unwrap();
            let (file, config) = ConfigFile::open(&dir.path().join("config.yaml")).unwrap();
            assert_eq!(config.source_count(), 1);
            Self { dir, file }
        }

        fn write(&self, text: &str) {
            std::fs::write(self.dir.path().join("config.yaml"), text).unwrap();
        }

        fn remove(&self) {
            std::fs::remove_file(self.dir.path().join("config.yaml")).unwrap();
        }

        /// The number of sources, or the error, if a look brings news.
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
}
