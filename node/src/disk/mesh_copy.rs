//! A copy of the mesh's own document beside the store.
//!
//! Guarantees: a node that lost its store still knows who belongs to its mesh, and so whom to call and whom to answer;
//! everything else then comes back from its peers. Without it, a node with nothing but the genesis would refuse them all.
//!
//! What is read here was signed by its authors and is judged like anything from outside. The file is therefore no second
//! store: one that is missing, damaged or old costs at most an operator who tells the node again who its peers are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use minicbor::bytes::ByteVec;

use super::error::DiskError;
use super::files;

/// Far beyond what admissions and people of a mesh fill; a longer file is none of ours.
const LIMIT: u64 = 64 << 20;

/// The copy.
#[derive(Debug)]
pub struct MeshCopy {
    path: PathBuf,
}

impl MeshCopy {
    /// The copy in this data directory; there may be none yet.
    pub fn new(dir: &Path) -> Self {
        Self { path: dir.join("mesh.copy") }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The statements in it, parents before children; none if there is no copy, or one that cannot be read as such.
    ///
    /// # Errors
    /// [`DiskError::Io`] if the system refuses.
    pub fn read(&self) -> Result<Vec<Vec<u8>>, DiskError> {
        let read = || match fs::metadata(&self.path)?.len() > LIMIT {
            true => Ok(Vec::new()),
            false => fs::read(&self.path),
        };
        match read() {
            Ok(bytes) => Ok(minicbor::decode::<Vec<ByteVec>>(&bytes)
                .map(|statements| statements.into_iter().map(Vec::from).collect())
                .unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(DiskError::io(&self.path, "reading the copy of the mesh's document")(error)),
        }
    }

    /// Replaces the copy, durably, unless it holds just this already.
    ///
    /// # Errors
    /// [`DiskError::Full`], [`DiskError::Io`]; the copy before is then still there.
    pub fn write(&self, statements: &[Vec<u8>]) -> Result<(), DiskError> {
        if self.read()? == statements {
            return Ok(());
        }
        let statements: Vec<ByteVec> = statements.iter().cloned().map(ByteVec::from).collect();
        let bytes = minicbor::to_vec(&statements).expect("encoding into memory cannot fail");
        let unfinished = self.path.with_extension("copy.new");
        files::write_new(&unfinished, &bytes)?;
        files::rename(&unfinished, &self.path)?;
        self.path.parent().map_or(Ok(()), files::sync_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_anything_else_is_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let copy = MeshCopy::new(dir.path());
        assert_eq!(copy.read().expect("nothing"), Vec::<Vec<u8>>::new());
        let statements = vec![b"one".to_vec(), Vec::new(), vec![7; 70_000]];
        copy.write(&statements).expect("written");
        assert_eq!(copy.read().expect("read"), statements);
        let before = fs::metadata(copy.path()).expect("a file").modified().expect("a time");
        copy.write(&statements).expect("nothing to do");
        assert_eq!(fs::metadata(copy.path()).expect("a file").modified().expect("a time"), before);
        copy.write(&statements[..1]).expect("replaced");
        assert_eq!(copy.read().expect("read"), statements[..1]);
        fs::write(copy.path(), [0x9f, 0xff, 0xff]).expect("written");
        assert_eq!(copy.read().expect("nothing"), Vec::<Vec<u8>>::new());
    }
}
