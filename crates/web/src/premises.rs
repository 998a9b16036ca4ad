//! What only the server's own computer knows, and what can only be done there.

use charter_api::backup::Backup;
use charter_api::doctor::Finding;
use charter_api::problem::Problem;
use std::future::Future;
use std::pin::Pin;

/// A thing that takes a while.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The server's own computer.
pub trait Premises: Send + Sync {
    /// The folder, the file, the records, and the secrets that they need.
    fn findings(&self) -> Soon<'_, Vec<Finding>>;
    /// The backups that were made by a server here, the newest first.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn backups(&self) -> Result<Vec<Backup>, Problem>;
    /// Makes another one.
    ///
    /// # Errors
    /// The database fails, or the disk does.
    fn back_up(&self) -> Soon<'_, Result<Backup, Problem>>;
    /// Removes one; false where none has that name.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove_backup(&self, name: &str) -> Result<bool, Problem>;
}
