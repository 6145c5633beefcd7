//! `#[resource]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Error, Ident, ItemFn, Result};

use crate::function::{Function, Parameter, Source, or_default};
use crate::options::Options;

const OPTIONS: [&str; 7] = ["name", "title", "description", "mime", "icon", "complete", "scope"];

pub(crate) fn expand(options: TokenStream, item: ItemFn) -> Result<TokenStream> {
    let what = "a resource starts with its URI: `#[resource(\"notes://{id}\")]`";
    let (uri, options) = Options::parse_after_text(options, &OPTIONS, what)?;
    let function = Function::read(item, "ReadRequest", "a resource")?;
    let variables = variables(&uri.value());
    check(&function, &uri.value(), &variables)?;

    let name = function.name();
    let wire_name = function.wire_name(&options)?;
    let mut calls = function.common(&options)?;
    calls.extend(options.text("mime")?.map(|mime| quote!(.mime_type(#mime))));
    calls.extend(function.completers(&options)?);
    let kind = format_ident!("{}", if variables.is_empty() { "ResourceEntry" } else { "TemplateEntry" });
    let entry = quote!(__andon::#kind::new(#uri, #wire_name, #name {}) #calls);
    Ok(function.emit(&kind, &entry, &handler(&function)))
}

fn handler(function: &Function) -> TokenStream {
    let name = function.name();
    let output = function.output();
    let names: Vec<&Ident> = function.parameters.iter().map(|it| &it.name).collect();
    let reads = function.parameters.iter().map(read);
    let convert = quote_spanned!(output.span()=> <#output as __andon::IntoReadResult>::into_read_result);
    quote! {
        impl __andon::ResourceHandler for #name {
            fn read(
                &self,
                __request: __andon::ReadRequest,
                __context: __andon::Context,
            ) -> __andon::BoxFuture<'static, ::core::result::Result<__andon::ReadResourceResult, __andon::ProtocolError>>
            {
                ::std::boxed::Box::pin(async move {
                    #(#reads)*
                    let __result: #output = #name::call(#(#names),*).await;
                    #convert(__result, &__request.uri, __request.mime_type.as_deref())
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
        Source::Whole => quote!(let #name = __request.clone();),
        Source::Required => quote_spanned!(ty.span()=> let #name = __request.variables.required::<#ty>(#wire)?;),
        Source::Optional(inner) => {
            quote_spanned!(inner.span()=> let #name = __request.variables.optional::<#inner>(#wire)?;)
        }
        Source::Default(default) => {
            let read = quote_spanned!(ty.span()=> __request.variables.optional::<#ty>(#wire)?);
            let value = or_default(&read, default);
            quote!(let #name = #value;)
        }
    }
}

/// Names of the variables of a template; the server checks the template itself when it is built.
fn variables(template: &str) -> Vec<String> {
    let expressions = template.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let names = expressions.flat_map(|(expression, _)| {
        let expression = expression.trim_start_matches(['+', '#', '.', '/', ';', '?', '&']);
        expression.split(',').map(|variable| variable.split([':', '*']).next().unwrap_or_default().to_owned())
    });
    names.collect()
}

fn check(function: &Function, uri: &str, variables: &[String]) -> Result<()> {
    for parameter in function.parameters.iter().filter(|it| it.is_argument()) {
        let name = parameter.wire_name();
        if !variables.contains(&name) {
            let known = match variables {
                [] => "which has none".to_owned(),
                _ => format!("which has `{}`", variables.join("`, `")),
            };
            let why = format!("`{name}` is neither an extractor nor a variable of `{uri}`, {known}");
            return Err(Error::new(parameter.name.span(), why));
        }
    }
    Ok(())
}
