//! Watches the content of files.
//!
//! It compares the content, because times, sizes and file system events are not reliable. A Secret's
//! volume swaps a symlink next to the file, an editor writes in place or renames, and a network volume
//! sends no events. Reading a few KiB is cheap. There are two ways to use it: a task checks [`Watched`],
//! and [`OnUse`] is checked when its value is used.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

/// Interval between two checks of [`OnUse`]: a few small reads, which cost less than one signature.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The shortest interval between two checks because of a refusal.
const REREAD_EVERY: Duration = Duration::from_secs(60);

/// Files and folders read so far, each with the hash of its content.
#[derive(Debug, Default, PartialEq)]
pub struct Reading(Vec<(Item, Seen)>);

/// A file or folder that is read.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Item {
    File(PathBuf),
    /// The paths of its files with this file name suffix.
    Folder(PathBuf, &'static str),
}

/// The content of an item, or why it is not known.
#[derive(Debug)]
enum Seen {
    Content(Digest),
    Unreadable(io::ErrorKind),
}

/// Makes a `T` from files, and reads them through [`Reading`] only. Which files it reads may depend on
/// their content.
pub type Make<T, E> = dyn Fn(&mut Reading) -> Result<T, E> + Send + Sync;

/// Files, and the function that makes a value from them when their content changes.
pub struct Watched<T, E> {
    make: Box<Make<T, E>>,
    /// The content of the files when the last change was reported.
    seen: Reading,
    /// The content at the last check, if it was different.
    unsettled: Option<Reading>,
}

/// A value made from files, which are checked when it is used, at most once a second. If the new content
/// is invalid, that is logged and the previous value stays.
pub struct OnUse<T, E>(Arc<Inner<T, E>>);

struct Inner<T, E> {
    /// The name of the files in the log: `the OCI key files`.
    title: &'static str,
    /// Locked during a check, so only on threads that may block.
    files: Mutex<Watched<T, E>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    made: Arc<T>,
    looked: Instant,
    /// The last check because of a refusal.
    reread: Option<Instant>,
}

// === impl Reading ===

impl Reading {
    /// Reads a file, and records its content.
    pub fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let content = std::fs::read(path);
        self.0.push((Item::File(path.to_owned()), Seen::of(&content)));
        content
    }

    /// Lists the files of a folder with this file name suffix, sorted, and records the list. Hidden files
    /// are skipped: a Secret's volume has its versions next to the links to them.
    pub fn list(&mut self, folder: &Path, ending: &'static str) -> io::Result<Vec<PathBuf>> {
        let files = list(folder, ending);
        self.0.push((Item::Folder(folder.to_owned(), ending), Seen::of_list(&files)));
        files
    }

    fn is_current(&self) -> bool {
        self.0.iter().all(|(item, seen)| *seen == item.look())
    }

    /// Adds the current state of items that `before` has and this reading did not reach.
    fn and_also(&mut self, before: &Self) {
        for (item, _) in &before.0 {
            if !self.0.iter().any(|(mine, _)| mine == item) {
                self.0.push((item.clone(), item.look()));
            }
        }
    }
}

fn list(folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let is_meant = name.to_str().is_some_and(|name| name.ends_with(ending) && !name.starts_with('.'));
        if is_meant && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

// === impl Item ===

impl Item {
    fn look(&self) -> Seen {
        match self {
            Self::File(path) => Seen::of(&std::fs::read(path)),
            Self::Folder(path, ending) => Seen::of_list(&list(path, ending)),
        }
    }
}

// === impl Seen ===

impl Seen {
    fn of(content: &io::Result<Vec<u8>>) -> Self {
        match content {
            Ok(content) => Self::Content(digest(&SHA256, content)),
            Err(error) => Self::Unreadable(error.kind()),
        }
    }

    fn of_list(files: &io::Result<Vec<PathBuf>>) -> Self {
        match files {
            // A path contains no NUL, so it can separate names.
            Ok(files) => {
                let names: Vec<&[u8]> = files.iter().map(|file| file.as_os_str().as_encoded_bytes()).collect();
                Self::Content(digest(&SHA256, &names.join(&0)))
            }
            Err(error) => Self::Unreadable(error.kind()),
        }
    }
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Content(one), Self::Content(other)) => one.as_ref() == other.as_ref(),
            (Self::Unreadable(one), Self::Unreadable(other)) => one == other,
            _ => false,
        }
    }
}

// === impl Watched ===

impl<T, E> Watched<T, E> {
    /// Reads the files for the first time, and returns the value that they make.
    pub fn open(make: Box<Make<T, E>>) -> (Self, Result<T, E>) {
        let mut seen = Reading::default();
        let made = make(&mut seen);
        (Self { make, seen, unsettled: None }, made)
    }

    /// Checks the files, and returns a new value if their content has changed since the last report.
    /// Blocks.
    pub fn look(&mut self) -> Option<Result<T, E>> {
        if self.seen.is_current() {
            return None;
        }
        let (now, made) = self.make();
        self.seen = now;
        Some(made)
    }

    /// The same, but a change counts only when two checks in a row see the same content, because a
    /// half-written file may be valid. Blocks.
    pub fn look_settled(&mut self) -> Option<Result<T, E>> {
        if self.seen.is_current() {
            self.unsettled = None;
            return None;
        }
        let (now, made) = self.make();
        if self.unsettled.as_ref() != Some(&now) {
            self.unsettled = Some(now);
            return None;
        }
        self.unsettled = None;
        self.seen = now;
        // Made from the bytes that were compared.
        Some(made)
    }

    fn make(&self) -> (Reading, Result<T, E>) {
        let mut now = Reading::default();
        let made = (self.make)(&mut now);
        if made.is_err() {
            now.and_also(&self.seen);
        }
        (now, made)
    }
}

// === impl OnUse ===

impl<T, E> OnUse<T, E>
where
    T: Send + Sync + 'static,
    E: fmt::Display + Send + 'static,
{
    /// Reads the files for the first time. Invalid content is an error.
    pub fn open(title: &'static str, make: Box<Make<T, E>>) -> Result<Self, E> {
        let (files, made) = Watched::open(make);
        let state = State { made: Arc::new(made?), looked: Instant::now(), reread: None };
        Ok(Self(Arc::new(Inner { title, files: Mutex::new(files), state: Mutex::new(state) })))
    }

    /// The current value. Checks the files if that is due.
    pub async fn current(&self) -> Arc<T> {
        let due = {
            let mut state = self.0.state();
            let due = state.looked.elapsed() >= LOOK_EVERY;
            if due {
                state.looked = Instant::now();
            }
            due
        };
        if due {
            self.look().await;
        }
        self.made()
    }

    /// The value at the last check.
    pub fn made(&self) -> Arc<T> {
        self.0.state().made.clone()
    }

    /// The value after a service has refused this one: a check is due at once, and then not before
    /// [`REREAD_EVERY`] has passed.
    pub async fn after_refusal(&self, refused: &Arc<T>) -> Arc<T> {
        let due = {
            let (mut state, now) = (self.0.state(), Instant::now());
            let due = Arc::ptr_eq(&state.made, refused) && state.reread.is_none_or(|last| now >= last + REREAD_EVERY);
            if due {
                state.reread = Some(now);
            }
            due
        };
        if due {
            self.look().await;
        }
        self.made()
    }

    /// Checks the files now. Meanwhile, the previous value is served.
    pub async fn look(&self) {
        let inner = self.0.clone();
        // Deriving a key from a passphrase takes 100 ms or more.
        let looked = tokio::task::spawn_blocking(move || inner.look()).await;
        if let Err(error) = looked {
            tracing::warn!(%error, "cannot check the files of {}", self.0.title);
        }
    }
}

impl<T, E> Clone for OnUse<T, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T, E> fmt::Debug for OnUse<T, E> {
    /// Without the content, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.title)
    }
}

// === impl Inner ===

impl<T, E: fmt::Display> Inner<T, E> {
    fn look(&self) {
        let title = self.title;
        match self.files.lock().look() {
            None => {}
            Some(Ok(made)) => {
                tracing::info!("{title} have changed and are in use");
                self.state().made = Arc::new(made);
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "{title} have changed and cannot be used: the old ones stay in use");
            }
        }
    }
}

impl<T, E> Inner<T, E> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with file `a`, which names another one, and what the two make.
    struct Scene(tempfile::TempDir);

    impl Scene {
        fn new() -> Self {
            let scene = Self(tempfile::tempdir().unwrap());
            scene.write("a", "b");
            scene.write("b", "1");
            scene
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }

        /// A number, out of the file that `a` names.
        fn make(&self) -> Box<Make<u32, String>> {
            let dir = self.0.path().to_owned();
            Box::new(move |reading| {
                let mut read = |name: &str| {
                    let content = reading.read(&dir.join(name)).map_err(|error| error.kind().to_string())?;
                    Ok::<_, String>(String::from_utf8_lossy(&content).into_owned())
                };
                let named = read("a")?;
                read(&named)?.parse().map_err(|_| "no number".to_owned())
            })
        }
    }

    #[test]
    fn a_change_of_any_file_is_reported_once() {
        let scene = Scene::new();
        let (mut files, made) = Watched::open(scene.make());
        assert_eq!((made, files.look()), (Ok(1), None));
        scene.write("b", "2");
        assert_eq!((files.look(), files.look()), (Some(Ok(2)), None));
        scene.write("a", "c");
        assert_eq!((files.look(), files.look()), (Some(Err("entity not found".to_owned())), None));
        // Also the file that is not named any more.
        scene.write("b", "x");
        assert_eq!((files.look(), files.look()), (Some(Err("entity not found".to_owned())), None));
        scene.write("c", "3");
        assert_eq!((files.look(), files.look()), (Some(Ok(3)), None));
        scene.write("b", "y");
        assert_eq!(files.look(), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_symlink_that_is_swapped_is_a_change() {
        let scene = Scene::new();
        let link = scene.0.path().join("link");
        scene.write("a", "link");
        std::os::unix::fs::symlink(scene.0.path().join("b"), &link).unwrap();
        let (mut files, _) = Watched::open(scene.make());
        scene.write("c", "3");
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(scene.0.path().join("c"), &link).unwrap();
        assert_eq!(files.look(), Some(Ok(3)));
    }

    #[test]
    fn a_change_counts_when_two_looks_see_it() {
        let scene = Scene::new();
        let (mut files, _) = Watched::open(scene.make());
        for half in ["2", "22", "22x"] {
            scene.write("b", half);
            assert_eq!(files.look_settled(), None, "{half}");
        }
        scene.write("b", "222");
        assert_eq!([files.look_settled(), files.look_settled(), files.look_settled()], [None, Some(Ok(222)), None]);
        // Away for a moment is no change.
        scene.write("b", "");
        assert_eq!(files.look_settled(), None);
        scene.write("b", "222");
        assert_eq!([files.look_settled(), files.look_settled()], [None, None]);
    }

    #[tokio::test]
    async fn what_is_used_is_what_the_files_made_last() {
        let scene = Scene::new();
        let files = OnUse::open("the test's files", scene.make()).unwrap();
        for (content, used) in [("2", 2), ("x", 2), ("3", 3)] {
            scene.write("b", content);
            files.look().await;
            assert_eq!(*files.current().await, used, "{content}");
        }
        scene.write("b", "4");
        tokio::time::pause();
        assert_eq!(*files.current().await, 3, "looked a moment ago");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(*files.current().await, 4);
        scene.write("b", "x");
        assert!(OnUse::open("the test's files", scene.make()).is_err());
    }
}
