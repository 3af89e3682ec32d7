//! The derive macro of Cloister. Use it by the crate `cloister`, which exports it and has what the code that it makes refers to.

mod expand;
mod input;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a type a message of an actor, for actors of this node and of others.
///
/// The fields of an enum or a struct may be of any type that serde can serialize and deserialize. A field of type
/// `RpcReplyPort<T>` makes its variant a call, which is answered with a `T` of such a type. A variant has one at most.
///
/// # What travels
///
/// Variants and fields travel by name, in MessagePack. So two releases of a program understand each other as far as both know
/// what is sent:
///
/// - a field that the receiver does not know is left out;
/// - a field that the sender does not know is its default, if it has `#[serde(default)]`, or if it is an `Option`;
/// - a variant that the receiver does not know is refused. The sender of a call receives an error that names both, and the receiver logs it
///   once.
///
/// The fields of a tuple variant have their positions as names. Other attributes of serde on a field hold, too. Those on the type or on a
/// variant do not: a variant travels by its own name.
///
/// MessagePack has one `nil`, so `Some(None)` and `Some(())` would arrive as `None`. A field or an answer of type `Option<Option<…>>` or
/// `Option<()>` is an error, also in a container of the standard library. Within a type of the program's own such a field is not seen. A
/// `bool` or an enum keeps the values apart; so does `#[serde(with = "…")]` on the field.
///
/// # Attributes
///
/// - `#[message(local)]`: the message stays in its process, and its fields may be of any type.
/// - `#[message(name = "cart")]`: the name of the type on the wire, instead of its path (`shop::cart::CartMessage`). Give it the old path
///   when the type is renamed or moved to another module, or a name for good at once.
/// - `#[message(crate = "path")]`: where the crate `cloister` is, if it has another name.
#[proc_macro_derive(Message, attributes(message, serde))]
pub fn message(item: TokenStream) -> TokenStream {
    let input = parse_macro_input!(item as DeriveInput);
    match input::Message::read(input) {
        Ok(message) => expand::message(&message).into(),
        Err(error) => error.to_compile_error().into(),
    }
}
