//! Pages of documentation, as far as the tests read Markdown.

use std::fs;
use std::path::{Path, PathBuf};

/// A page.
pub struct Page {
    /// From the root of the repository.
    pub name: String,
    /// Lines outside of code blocks.
    prose: Vec<String>,
    /// Lines of code blocks, with continued lines joined.
    code: Vec<String>,
}

/// All pages of the repository.
pub fn all() -> Vec<Page> {
    let mut files = Vec::new();
    collect(&root(), &mut files);
    let pages: Vec<Page> = files.iter().map(|file| Page::read(file)).collect();
    assert!(pages.len() > 10, "{}", pages.len());
    pages
}

/// One of them.
pub fn named(name: &str) -> Page {
    Page::read(&root().join(name))
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // Golden files are no pages.
        if name.starts_with('.') || ["target", "golden", "node_modules"].contains(&name) {
            continue;
        }
        match path.is_dir() {
            true => collect(&path, files),
            false => files.extend((path.extension().is_some_and(|end| end == "md")).then_some(path)),
        }
    }
}

// === impl Page ===

impl Page {
    fn read(file: &Path) -> Self {
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (mut prose, mut code, mut in_code, mut continued) = (Vec::new(), Vec::<String>::new(), false, false);
        for line in text.lines() {
            let bare = line.trim();
            if bare.starts_with("```") {
                in_code = !in_code;
            } else if in_code {
                match code.last_mut().filter(|_| continued) {
                    Some(before) => before.push_str(bare),
                    None => code.push(bare.to_owned()),
                }
                continued = bare.ends_with('\\');
                if continued && let Some(last) = code.last_mut() {
                    last.pop();
                }
            } else {
                prose.push(line.to_owned());
            }
        }
        assert!(!in_code, "{name}: a code block is open at the end");
        Self { name, prose, code }
    }

    /// The text between single backticks.
    pub fn spans(&self) -> impl Iterator<Item = &str> {
        self.prose.iter().flat_map(|line| line.split('`').skip(1).step_by(2))
    }

    /// Commands: lines of code blocks, without a prompt, and code within a text.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        self.code.iter().map(|line| line.trim_start_matches("$ ")).chain(self.spans())
    }

    pub fn prose(&self) -> &[String] {
        &self.prose
    }

    pub fn code(&self) -> &[String] {
        &self.code
    }

    /// Where its links lead: `(path, heading)`, without those to other sites.
    pub fn links(&self) -> Vec<(PathBuf, Option<String>)> {
        let folder = root().join(&self.name).parent().unwrap().to_owned();
        let text: Vec<String> = self.prose.iter().map(|line| line.split('`').step_by(2).collect()).collect();
        let targets = text.iter().flat_map(|line| line.split("](").skip(1)).map(|rest| rest.split(')').next().unwrap());
        let local = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
        let place = |target: &str| {
            let (path, heading) =
                target.split_once('#').map_or((target, None), |(path, of)| (path, Some(of.to_owned())));
            let path = if path.is_empty() { root().join(&self.name) } else { folder.join(path) };
            (path, heading)
        };
        local.map(place).collect()
    }

    /// Its headings as a link names them.
    pub fn headings(&self) -> Vec<String> {
        let headings = self.prose.iter().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }
}

/// As GitHub does it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
