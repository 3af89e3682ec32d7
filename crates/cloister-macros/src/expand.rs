//! The code that is made.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::LitStr;
use syn::ext::IdentExt;

use crate::input::{Message, Shape, Variant};

pub(crate) fn message(message: &Message) -> TokenStream {
    let (ident, cloister) = (&message.ident, &message.options.cloister);
    if message.options.local {
        let (parameters, arguments, bounds) = message.generics.split_for_impl();
        return quote! { impl #parameters #cloister::ractor::Message for #ident #arguments #bounds {} };
    }
    let name = type_name(message);
    let schema = schema(message);
    let bodies = message.variants.iter().map(|variant| body(message, variant));
    let sends = message.variants.iter().map(|variant| send(message, variant));
    let receives = message.variants.iter().map(|variant| receive(message, variant));
    quote! {
        const _: () = {
            #(#bodies)*

            static SCHEMA: #cloister::message::Schema = #cloister::message::Schema { name: #name, variants: #schema };

            impl #cloister::ractor::Message for #ident {
                fn serializable() -> bool {
                    true
                }

                fn serialize(
                    self,
                ) -> ::core::result::Result<
                    #cloister::ractor::message::SerializedMessage,
                    #cloister::ractor::message::BoxedDowncastErr,
                > {
                    match self {
                        #(#sends)*
                    }
                }

                fn deserialize(
                    message: #cloister::ractor::message::SerializedMessage,
                ) -> ::core::result::Result<Self, #cloister::ractor::message::BoxedDowncastErr> {
                    let incoming = #cloister::message::Incoming::new(&SCHEMA, message)?;
                    match incoming.variant() {
                        #(#receives)*
                        _ => incoming.unknown(),
                    }
                }
            }
        };
    }
}

/// The type that travels for a variant: its fields but for the port.
fn body(message: &Message, variant: &Variant) -> TokenStream {
    let (cloister, body) = (&message.options.cloister, body_name(variant));
    let serde = path(cloister, "::serde");
    let fields = variant.carried().map(|part| {
        let (binding, ty, attributes, name) = (&part.binding, &part.ty, &part.serde, &part.name);
        let rename = (variant.shape == Shape::Tuple && !part.is_renamed())
            .then(|| quote! { #[serde(rename = #name)] });
        quote! { #(#attributes)* #rename #binding: #ty }
    });
    quote! {
        #[derive(#cloister::serde::Serialize, #cloister::serde::Deserialize)]
        #[serde(crate = #serde)]
        #[allow(non_camel_case_types)]
        struct #body {
            #(#fields,)*
        }
    }
}

fn send(message: &Message, variant: &Variant) -> TokenStream {
    let (cloister, body, wire) = (&message.options.cloister, body_name(variant), wire_name(message, variant));
    let pattern = pattern(message, variant);
    let fields = variant.carried().map(|part| &part.binding);
    let body = quote! { &#body { #(#fields),* } };
    match variant.answered().map(|part| &part.binding) {
        Some(port) => quote! { #pattern => #cloister::message::call(#wire, #body, #port), },
        None => quote! { #pattern => #cloister::message::cast(#wire, #body), },
    }
}

fn receive(message: &Message, variant: &Variant) -> TokenStream {
    let (body, name) = (body_name(variant), &variant.name);
    let pattern = pattern(message, variant);
    let fields = variant.carried().map(|part| &part.binding);
    let fields = quote! { #body { #(#fields),* } };
    match variant.answered().map(|part| &part.binding) {
        Some(port) => quote! { #name => incoming.call(|#fields, #port| #pattern), },
        None => quote! { #name => incoming.cast(|#fields| #pattern), },
    }
}

/// The variant with each field by its binding: as a pattern and as an expression.
fn pattern(message: &Message, variant: &Variant) -> TokenStream {
    let type_name = &message.ident;
    let path = match &variant.ident {
        Some(ident) => quote! { #type_name::#ident },
        None => quote! { #type_name },
    };
    let bindings = variant.parts.iter().map(|part| &part.binding);
    match variant.shape {
        Shape::Named => quote! { #path { #(#bindings),* } },
        Shape::Tuple => quote! { #path(#(#bindings),*) },
        Shape::Unit => path,
    }
}

fn body_name(variant: &Variant) -> syn::Ident {
    let span = variant.ident.as_ref().map_or_else(proc_macro2::Span::call_site, syn::Ident::span);
    syn::Ident::new(&format!("Body_{}", variant.name), span)
}

/// The name of the type on the wire. Types of two modules differ, also where they are alike.
fn type_name(message: &Message) -> TokenStream {
    let ident = message.ident.unraw().to_string();
    match &message.options.name {
        Some(name) => quote! { #name },
        None => quote! { ::core::concat!(::core::module_path!(), "::", #ident) },
    }
}

/// The variant with the name of its type.
fn wire_name(message: &Message, variant: &Variant) -> TokenStream {
    let (ident, variant) = (message.ident.unraw().to_string(), &variant.name);
    match &message.options.name {
        Some(name) => format!("{name}::{variant}").to_token_stream(),
        None => quote! { ::core::concat!(::core::module_path!(), "::", #ident, "::", #variant) },
    }
}

/// The variants as they are shown in an error.
fn schema(message: &Message) -> String {
    let fields = |variant: &Variant| -> Vec<String> {
        let text = |ty: &syn::Type| ty.to_token_stream().to_string().replace(' ', "");
        variant.carried().map(|part| format!("{}: {}", part.name, text(&part.ty))).collect()
    };
    let variants = message.variants.iter().map(|variant| match fields(variant) {
        fields if fields.is_empty() => variant.name.clone(),
        fields => format!("{} {{ {} }}", variant.name, fields.join(", ")),
    });
    variants.collect::<Vec<String>>().join(", ")
}

/// `suffix` after the path of the crate, as text.
fn path(cloister: &syn::Path, suffix: &str) -> LitStr {
    let path = cloister.to_token_stream().to_string().replace(' ', "");
    LitStr::new(&format!("{path}{suffix}"), proc_macro2::Span::call_site())
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn a_raw_identifier_travels_by_its_name() {
        let raw = parse_quote! { enum r#gen { r#move { r#type: u8 } } };
        let code = message(&Message::read(raw).unwrap_or_else(|error| panic!("{error}"))).to_string();
        for part in [
            "struct Body_move { r#type : u8 , }",
            "\"::\" , \"gen\" , \"::\" , \"move\"",
            "\"move { type: u8 }\"",
        ] {
            assert!(code.contains(part), "{part}: {code}");
        }
    }
}
