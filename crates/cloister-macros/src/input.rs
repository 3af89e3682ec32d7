//! What is read from the type.

use proc_macro2::TokenTree;
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Field, Fields, GenericArgument, Generics, Ident, LitStr, Meta, Path,
    PathArguments, Result, Token, Type, parse_quote,
};

/// A type that is to be a message.
pub(crate) struct Message {
    pub(crate) ident: Ident,
    /// Of a local message alone.
    pub(crate) generics: Generics,
    pub(crate) options: Options,
    pub(crate) variants: Vec<Variant>,
}

/// What `#[message(…)]` says.
pub(crate) struct Options {
    pub(crate) local: bool,
    /// The name on the wire; `None` for the path of the type.
    pub(crate) name: Option<String>,
    pub(crate) cloister: Path,
}

/// One variant, or the fields of a struct.
pub(crate) struct Variant {
    /// `None` for a struct.
    pub(crate) ident: Option<Ident>,
    /// The name on the wire.
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) parts: Vec<MessageField>,
}

/// How a variant is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Named,
    Tuple,
    Unit,
}

/// One field.
pub(crate) struct MessageField {
    /// Its name in the code that is made.
    pub(crate) binding: Ident,
    /// Its name on the wire.
    pub(crate) name: String,
    pub(crate) ty: Type,
    /// The type of the answer, if this is where the answer goes.
    pub(crate) answer: Option<Type>,
    /// The attributes of serde.
    pub(crate) serde: Vec<Attribute>,
}

impl Message {
    pub(crate) fn read(input: DeriveInput) -> Result<Self> {
        let options = Options::read(&input)?;
        if !input.generics.params.is_empty() && !options.local {
            let text = "a message that travels has no parameters: other nodes know it by one name";
            return Err(Error::new(input.generics.span(), text));
        }
        if options.local {
            return Ok(Self { ident: input.ident, generics: input.generics, options, variants: Vec::new() });
        }
        let variants = match input.data {
            Data::Enum(data) => data
                .variants
                .into_iter()
                .map(|variant| Variant::read(Some(variant.ident), &input.ident, variant.fields))
                .collect::<Result<_>>()?,
            Data::Struct(data) => vec![Variant::read(None, &input.ident, data.fields)?],
            Data::Union(_) => return Err(Error::new(input.ident.span(), "a union cannot be a message")),
        };
        Ok(Self { ident: input.ident, generics: input.generics, options, variants })
    }
}

impl Options {
    fn read(input: &DeriveInput) -> Result<Self> {
        let mut options = Self { local: false, name: None, cloister: parse_quote!(::cloister) };
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("message")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("local") {
                    options.local = true;
                } else if meta.path.is_ident("name") {
                    let name: LitStr = meta.value()?.parse()?;
                    if name.value().is_empty() {
                        return Err(Error::new(name.span(), "a name has a character at least"));
                    }
                    options.name = Some(name.value());
                } else if meta.path.is_ident("crate") {
                    options.cloister = meta.value()?.parse::<LitStr>()?.parse()?;
                } else {
                    return Err(meta.error("expected `local`, `name = \"…\"` or `crate = \"…\"`"));
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}

impl Variant {
    fn read(ident: Option<Ident>, type_name: &Ident, fields: Fields) -> Result<Self> {
        let shape = match &fields {
            Fields::Named(_) => Shape::Named,
            Fields::Unnamed(_) => Shape::Tuple,
            Fields::Unit => Shape::Unit,
        };
        let span = fields.span();
        let parts = fields.into_iter().enumerate().map(|(at, field)| MessageField::read(at, field));
        let parts: Vec<MessageField> = parts.collect::<Result<_>>()?;
        if parts.iter().filter(|part| part.answer.is_some()).count() > 1 {
            return Err(Error::new(span, "a message is answered once: it has one `RpcReplyPort` at most"));
        }
        let name = ident.as_ref().unwrap_or(type_name).unraw().to_string();
        Ok(Self { ident, name, shape, parts })
    }

    /// Where the answer goes.
    pub(crate) fn answered(&self) -> Option<&MessageField> {
        self.parts.iter().find(|part| part.answer.is_some())
    }

    /// The fields that travel.
    pub(crate) fn carried(&self) -> impl Iterator<Item = &MessageField> {
        self.parts.iter().filter(|part| part.answer.is_none())
    }
}

impl MessageField {
    fn read(at: usize, field: Field) -> Result<Self> {
        let name = field.ident.as_ref().map_or_else(|| at.to_string(), |ident| ident.unraw().to_string());
        let binding = field.ident.unwrap_or_else(|| Ident::new(&format!("field_{at}"), field.ty.span()));
        let serde = field.attrs.into_iter().filter(|attribute| attribute.path().is_ident("serde")).collect();
        let read = Self { binding, name, answer: answer_of(&field.ty), ty: field.ty, serde };
        // Code of the program may write such a field otherwise.
        if !read.has_serde(&["with", "serialize_with", "skip"]) {
            refuse_lost(read.answer.as_ref().unwrap_or(&read.ty))?;
        }
        Ok(read)
    }

    /// Whether an attribute of serde gives it another name.
    pub(crate) fn is_renamed(&self) -> bool {
        self.has_serde(&["rename"])
    }

    /// Whether an attribute of serde has one of these words.
    fn has_serde(&self, words: &[&str]) -> bool {
        let is_wanted = |token: TokenTree| matches!(token, TokenTree::Ident(word) if words.iter().any(|wanted| word == wanted));
        self.serde.iter().any(|attribute| match &attribute.meta {
            Meta::List(list) => list.tokens.clone().into_iter().any(is_wanted),
            Meta::Path(_) | Meta::NameValue(_) => false,
        })
    }
}

/// Refuses a type of which two values are the same bytes: MessagePack has one `nil` for `None`, `Some(None)` and `Some(())`.
///
/// It looks into the containers of the standard library, and into no type of the program.
fn refuse_lost(ty: &Type) -> Result<()> {
    const CONTAINERS: [&str; 14] = [
        "Option",
        "Result",
        "Box",
        "Rc",
        "Arc",
        "Vec",
        "VecDeque",
        "LinkedList",
        "BinaryHeap",
        "HashMap",
        "HashSet",
        "BTreeMap",
        "BTreeSet",
        "Cow",
    ];
    match ty {
        Type::Tuple(tuple) => tuple.elems.iter().try_for_each(refuse_lost),
        Type::Array(array) => refuse_lost(&array.elem),
        Type::Paren(inner) => refuse_lost(&inner.elem),
        Type::Group(inner) => refuse_lost(&inner.elem),
        Type::Path(_) => {
            let Some((name, arguments)) =
                named(ty).filter(|(name, _)| CONTAINERS.iter().any(|known| name == known))
            else {
                return Ok(());
            };
            if name == "Option" && arguments.first().is_some_and(is_nil) {
                let text = "this does not travel: in MessagePack `Some(None)` and `Some(())` are `None`; use a `bool` or an enum";
                return Err(Error::new(ty.span(), text));
            }
            arguments.iter().try_for_each(refuse_lost)
        }
        _ => Ok(()),
    }
}

/// Whether a value of this type may be `nil` in MessagePack.
fn is_nil(ty: &Type) -> bool {
    match ty {
        Type::Tuple(tuple) => tuple.elems.is_empty(),
        Type::Paren(inner) => is_nil(&inner.elem),
        Type::Group(inner) => is_nil(&inner.elem),
        Type::Path(_) => named(ty).is_some_and(|(name, arguments)| match name.to_string().as_str() {
            "Option" => true,
            "Box" | "Rc" | "Arc" => arguments.first().is_some_and(is_nil),
            _ => false,
        }),
        _ => false,
    }
}

/// The last name of a path, and the types in its brackets.
fn named(ty: &Type) -> Option<(Ident, Vec<Type>)> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    });
    Some((last.ident.clone(), types.collect()))
}

/// The `T` of `RpcReplyPort<T>`, by whatever path.
fn answer_of(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == "RpcReplyPort")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    let arguments: &Punctuated<GenericArgument, Token![,]> = &arguments.args;
    match arguments.first()? {
        GenericArgument::Type(answer) if arguments.len() == 1 => Some(answer.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(input: DeriveInput) -> String {
        match Message::read(input) {
            Ok(message) => panic!("{} is a message", message.ident),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_cannot_travel_is_an_error_with_its_reason() {
        let twice = parse_quote! { enum Cart { Count(RpcReplyPort<u64>, ractor::RpcReplyPort<u64>) } };
        assert_eq!(problem(twice), "a message is answered once: it has one `RpcReplyPort` at most");
        let generic = parse_quote! { struct Cart<T>(T); };
        assert!(problem(generic).starts_with("a message that travels has no parameters"));
        assert_eq!(problem(parse_quote! { union Cart { a: u8 } }), "a union cannot be a message");
        let unnamed = parse_quote! { #[message(name = "")] struct Cart; };
        assert_eq!(problem(unnamed), "a name has a character at least");
        let unknown = parse_quote! { #[message(colour = "red")] struct Cart; };
        assert!(problem(unknown).starts_with("expected `local`"));
    }

    #[test]
    fn a_field_or_an_answer_of_which_two_values_are_the_same_bytes_is_an_error() {
        let lost: [DeriveInput; 8] = [
            parse_quote! { struct Cart { pieces: Option<Option<u32>> } },
            parse_quote! { struct Cart(Option<()>); },
            parse_quote! { enum Cart { Clear(RpcReplyPort<Option<()>>) } },
            parse_quote! { enum Cart { Find(u8, RpcReplyPort<core::option::Option<std::option::Option<u32>>>) } },
            parse_quote! { struct Cart(Option<Box<Option<u32>>>); },
            parse_quote! { struct Cart(Vec<(u8, Option<()>)>); },
            parse_quote! { struct Cart(RpcReplyPort<Result<Option<()>, String>>); },
            parse_quote! { struct Cart { #[serde(default)] pieces: Option<Option<u32>> } },
        ];
        for input in lost {
            let problem = problem(input);
            assert!(problem.starts_with("this does not travel"), "{problem}");
        }
        let kept: [DeriveInput; 6] = [
            parse_quote! { struct Cart(Option<u32>, Option<(u8,)>, Option<Vec<Option<u8>>>, (), Box<()>); },
            parse_quote! { enum Cart { Clear(RpcReplyPort<()>), Find(RpcReplyPort<Result<(), String>>) } },
            parse_quote! { struct Cart { #[serde(default, with = "twice")] pieces: Option<Option<u32>> } },
            parse_quote! { struct Cart { #[serde(skip)] pieces: Option<Option<u32>> } },
            parse_quote! { struct Cart(Pieces<Option<()>>); },
            parse_quote! { #[message(local)] struct Cart(Option<Option<u32>>); },
        ];
        for input in kept {
            Message::read(input).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn a_field_is_renamed_by_that_attribute_alone() {
        let cart = parse_quote! {
            struct Cart(#[serde(default = "not_renamed")] u8, #[serde(default, rename = "n")] u8, #[serde(default)] u8);
        };
        let message = Message::read(cart).unwrap_or_else(|error| panic!("{error}"));
        let renamed: Vec<bool> = message.variants[0].parts.iter().map(MessageField::is_renamed).collect();
        assert_eq!(renamed, [false, true, false]);
    }

    #[test]
    fn a_local_message_may_have_parameters_and_is_not_looked_into() {
        let local =
            parse_quote! { #[message(local)] enum Tick<T> { At(T, RpcReplyPort<T>, RpcReplyPort<T>) } };
        assert!(Message::read(local).unwrap_or_else(|error| panic!("{error}")).variants.is_empty());
    }

    #[test]
    fn the_port_is_known_by_its_last_name_and_the_rest_travels_by_name_or_position() {
        let cart = parse_quote! {
            enum Cart { Add { item: String, reply: cloister::ractor::RpcReplyPort<Vec<u8>> }, Take(u8, u16), Clear }
        };
        let message = Message::read(cart).unwrap_or_else(|error| panic!("{error}"));
        let [add, take, clear] = &message.variants[..] else { panic!("three") };
        let carried = |variant: &Variant| variant.carried().map(|part| part.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (add.answered().map(|part| part.name.as_str()), carried(add)),
            (Some("reply"), vec!["item".to_owned()])
        );
        assert_eq!((take.answered().is_none(), carried(take)), (true, vec!["0".to_owned(), "1".to_owned()]));
        assert!(clear.shape == Shape::Unit && carried(clear).is_empty());
    }
}
