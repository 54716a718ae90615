//! Exports as they are downloaded: a zip archive with the file in it.

use std::io::{Cursor, Read as _};
use std::path::Path;

use super::unusable;

/// Bytes of one file of an archive at most: what unpacks to more is no export of talks.
const LARGEST: u64 = 4 << 30;

/// The file itself, or the files of an archive whose name (without folders) is wanted, in the order of their names.
///
/// # Errors
/// If an archive is damaged, holds none, or one that is too large.
pub(super) fn files(path: &Path, bytes: Vec<u8>, wanted: fn(&str) -> bool, called: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    if !bytes.starts_with(b"PK\x03\x04") {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return Ok(vec![(name, bytes)]);
    }
    let damaged = |error: &dyn std::fmt::Display| unusable(path, 0, &format!("the archive cannot be read: {error}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
    let mut found = Vec::new();
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(|error| damaged(&error))?;
        let name = file.name().rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        if !file.is_file() || !wanted(&name) {
            continue;
        }
        let mut contents = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut contents).map_err(|error| damaged(&error))?;
        if contents.len() as u64 > LARGEST {
            return Err(unusable(path, 0, &format!("{name} unpacks to more than 4 GiB")));
        }
        found.push((name, contents));
    }
    if found.is_empty() {
        return Err(unusable(path, 0, &format!("the archive has no {called}")));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).expect("a file");
            writer.write_all(text.as_bytes()).expect("a write");
        }
        writer.finish().expect("an archive").into_inner()
    }

    fn wanted(name: &str) -> bool {
        name == "conversations.json"
    }

    #[test]
    fn finds_the_file_in_an_archive_and_takes_another_file_as_it_is() {
        let packed = archive(&[("export/users.json", "[]"), ("export/conversations.json", "[1]")]);
        let found = files(Path::new("a.zip"), packed, wanted, "conversations.json").expect("an archive");
        assert_eq!(found, [("conversations.json".to_owned(), b"[1]".to_vec())]);
        let plain = files(Path::new("x/chat.json"), b"[2]".to_vec(), wanted, "conversations.json").expect("a file");
        assert_eq!(plain, [("chat.json".to_owned(), b"[2]".to_vec())]);
    }

    #[test]
    fn refuses_an_archive_that_is_cut_or_lacks_the_file() {
        let mut packed = archive(&[("conversations.json", "[1]")]);
        packed.truncate(packed.len() / 2);
        for (bytes, reason) in [(packed, "cannot be read"), (archive(&[("a.json", "[]")]), "has no conversations.json")] {
            let error = files(Path::new("a.zip"), bytes, wanted, "conversations.json").expect_err("unusable");
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
