//! A path of the API with everything that is told of it. The router and the description (`openapi`) are made of the same list, so
//! neither can know what the other does not.

use crate::problem::Most;
use crate::router::App;
use axum::Extension;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodRouter, delete, get, post, put};
use charter_store::Role;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::convert::Infallible;

/// Makes a schema, and keeps what it refers to.
pub(crate) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What an answer holds.
#[derive(Clone, Copy)]
pub(crate) enum Gives {
    /// JSON of a known shape.
    Json(Shape),
    /// A JSON object whose fields are not told here.
    Object,
    /// Text of a kind of its own.
    Text(&'static str),
    /// Nothing.
    Nothing,
}

/// The least role that a path asks for; looked at before anything of a request is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs(pub(crate) Role);

/// One path and method.
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) route: MethodRouter<App>,
    pub(crate) says: &'static str,
    /// The least role; none where no key is asked for.
    pub(crate) role: Option<Role>,
    pub(crate) asks: Option<Shape>,
    pub(crate) takes: Option<Shape>,
    pub(crate) gives: Vec<(u16, Gives)>,
    /// Failures beside those that every path has.
    pub(crate) fails: Vec<u16>,
    /// It belongs to a system that charter replaces.
    pub(crate) alias: bool,
}

fn made(method: Method, path: &'static str, route: MethodRouter<App>) -> Endpoint {
    let role = Some(if method == Method::GET { Role::Viewer } else { Role::Operator });
    Endpoint { method, path, route, says: "", role, asks: None, takes: None, gives: vec![], fails: vec![], alias: false }
}

pub(crate) fn read<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Endpoint {
    made(Method::GET, path, get(handler))
}

pub(crate) fn change<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Endpoint {
    made(Method::POST, path, post(handler))
}

pub(crate) fn replace<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Endpoint {
    made(Method::PUT, path, put(handler))
}

pub(crate) fn remove<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Endpoint {
    made(Method::DELETE, path, delete(handler))
}

impl Endpoint {
    pub(crate) fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    /// Only for this role or a higher one.
    pub(crate) fn only(self, role: Role) -> Self {
        Self { role: Some(role), ..self }
    }

    /// For everybody: it tells nothing but that the process lives.
    pub(crate) fn open(self) -> Self {
        Self { role: None, ..self }
    }

    /// What stands behind the question mark.
    pub(crate) fn asks<T: JsonSchema>(self) -> Self {
        Self { asks: Some(SchemaGenerator::subschema_for::<T>), ..self }
    }

    /// What the body holds.
    pub(crate) fn takes<T: JsonSchema>(self) -> Self {
        Self { takes: Some(SchemaGenerator::subschema_for::<T>), ..self }
    }

    /// A body of a known shape.
    pub(crate) fn gives<T: JsonSchema>(mut self, status: u16) -> Self {
        self.gives.push((status, Gives::Json(SchemaGenerator::subschema_for::<T>)));
        self
    }

    pub(crate) fn gives_kind(mut self, status: u16, gives: Gives) -> Self {
        self.gives.push((status, gives));
        self
    }

    /// It may also fail so.
    pub(crate) fn fails(mut self, with: &[u16]) -> Self {
        self.fails.extend(with);
        self
    }

    /// Its handler, behind its role.
    pub(crate) fn route(self) -> MethodRouter<App> {
        match self.role {
            Some(role) => self.route.layer(Extension(Needs(role))),
            None => self.route,
        }
    }

    /// A path of a system that charter replaces.
    pub(crate) fn alias(self) -> Self {
        Self { alias: true, ..self }
    }

    /// Larger bodies than others.
    pub(crate) fn large(self, most: usize) -> Self {
        Self { route: self.route.layer::<_, Infallible>(DefaultBodyLimit::max(most)).layer(Extension(Most(most))), ..self }
    }
}
