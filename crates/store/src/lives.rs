//! The lives of a database: it is read as one moment shows it, written anew, or left because everything lives elsewhere now.

use crate::connection::{Connection, Row, values};
use crate::database::{Database, EPOCH, Held, MOVED};
use crate::port::Error;
use crate::{migrations, sql};

/// A transaction that writes everything anew.
pub(crate) struct Rewriting(Held);

impl Rewriting {
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        self.0.connection()
    }

    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        self.connection().run(sql::COMMIT, vec![]).await.map(drop)
    }
}

impl Database {
    /// Says that everything lives elsewhere now: nobody writes here any more, and nobody opens it for work.
    ///
    /// # Errors
    /// What the database says.
    pub async fn retire(&self) -> Result<(), Error> {
        self.writer().await?.connection().run(sql::META_PUT, values![EPOCH, MOVED]).await.map(drop)
    }

    /// Takes that back, because the move failed.
    ///
    /// # Errors
    /// What the database says.
    pub async fn reinstate(&self) -> Result<(), Error> {
        let known = self.epoch();
        let epoch = if known.is_empty() { "1" } else { known.as_str() };
        self.writer().await?.connection().run(sql::META_PUT, values![EPOCH, epoch]).await.map(drop)
    }

    /// Does everything live elsewhere?
    ///
    /// # Errors
    /// What the database says.
    pub async fn is_retired(&self) -> Result<bool, Error> {
        let read = self.read(sql::META_GET, values![EPOCH]).await?;
        Ok(read.first().is_some_and(|row| row.text(0) == MOVED))
    }

    /// Reads several statements as one moment shows them.
    pub(crate) async fn snapshot(&self, texts: impl Iterator<Item = &'static str>) -> Result<Vec<Vec<Row>>, Error> {
        let mut held = self.reader().await?;
        let mut c = held.connection();
        let begin = if matches!(c, Connection::Sqlite(_)) { sql::BEGIN } else { sql::BEGIN_REPEATABLE };
        c.run(begin, vec![]).await?;
        let mut all = vec![];
        for text in texts {
            match c.rows(text, vec![]).await {
                Ok(rows) => all.push(rows),
                Err(error) => {
                    held.close_on_drop();
                    return Err(error);
                }
            }
        }
        c.run(sql::ROLLBACK, vec![]).await?;
        Ok(all)
    }

    /// Begins to write everything anew. What is dropped without its commit was never written.
    pub(crate) async fn rewrite(&self) -> Result<Rewriting, Error> {
        let mut held = self.writer().await?;
        held.close_on_drop();
        held.connection().run(sql::BEGIN, vec![]).await?;
        Ok(Rewriting(held))
    }

    /// The schema's version.
    #[must_use]
    pub fn schema(&self) -> i64 {
        migrations::SQLITE.last().map_or(0, |v| v.0)
    }
}
