//! `#[prompt]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Ident, ItemFn, Result};

use crate::function::{Function, Parameter, Source, or_default};
use crate::options::Options;

const OPTIONS: [&str; 6] = ["name", "title", "description", "icon", "complete", "scope"];

pub(crate) fn expand(options: TokenStream, item: ItemFn) -> Result<TokenStream> {
    let options = Options::parse(options, &OPTIONS)?;
    let function = Function::read(item, "PromptArguments", "a prompt")?;
    let name = function.name();
    let wire_name = function.wire_name(&options)?;
    let calls = function.common(&options)?;
    let completers = function.completers(&options)?;
    let arguments = function.parameters.iter().filter(|it| it.is_argument()).map(argument);
    let entry = quote!(__andon::PromptEntry::new(#wire_name, #name {}) #calls #(#arguments)* #completers);
    Ok(function.emit(&format_ident!("PromptEntry"), &entry, &handler(&function)))
}

fn argument(parameter: &Parameter) -> TokenStream {
    let wire = parameter.wire_name();
    let required = matches!(parameter.source, Source::Required);
    let description = match &parameter.doc {
        Some(doc) => quote!(::core::option::Option::Some(::std::string::String::from(#doc))),
        None => quote!(::core::option::Option::None),
    };
    quote! {
        .argument(__andon::PromptArgument {
            name: ::std::string::String::from(#wire),
            title: ::core::option::Option::None,
            description: #description,
            required: #required,
        })
    }
}

fn handler(function: &Function) -> TokenStream {
    let name = function.name();
    let output = function.output();
    let names: Vec<&Ident> = function.parameters.iter().map(|it| &it.name).collect();
    let reads = function.parameters.iter().map(read);
    let convert = quote_spanned!(output.span()=> <#output as __andon::IntoPromptResult>::into_prompt_result);
    quote! {
        impl __andon::PromptHandler for #name {
            fn get(
                &self,
                __arguments: __andon::PromptArguments,
                __context: __andon::Context,
            ) -> __andon::BoxFuture<'static, ::core::result::Result<__andon::GetPromptResult, __andon::ProtocolError>> {
                ::std::boxed::Box::pin(async move {
                    #(#reads)*
                    let __result: #output = #name::call(#(#names),*).await;
                    #convert(__result)
                })
            }
        }
    }
}

fn read(parameter: &Parameter) -> TokenStream {
    let Parameter { name, ty, .. } = parameter;
    let wire = parameter.wire_name();
    match &parameter.source {
        Source::Extractor => {
            quote_spanned!(ty.span()=> let #name = <#ty as __andon::FromContext>::from_context(&__context)?;)
        }
        Source::Whole => quote!(let #name = __arguments.clone();),
        Source::Required => quote_spanned!(ty.span()=> let #name = __arguments.required::<#ty>(#wire)?;),
        Source::Optional(inner) => {
            quote_spanned!(inner.span()=> let #name = __arguments.optional::<#inner>(#wire)?;)
        }
        Source::Default(default) => {
            let read = quote_spanned!(ty.span()=> __arguments.optional::<#ty>(#wire)?);
            let value = or_default(&read, default);
            quote!(let #name = #value;)
        }
    }
}
