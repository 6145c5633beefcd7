//! `#[tool]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Error, Expr, Ident, ItemFn, Result};

use crate::function::{Function, Parameter, Source, inside, or_default};
use crate::options::Options;

const OPTIONS: [&str; 13] = [
    "name",
    "title",
    "description",
    "read_only",
    "idempotent",
    "destructive",
    "open_world",
    "timeout",
    "max_in_flight",
    "task",
    "scope",
    "icon",
    "header",
];

pub(crate) fn expand(options: TokenStream, item: ItemFn) -> Result<TokenStream> {
    let options = Options::parse(options, &OPTIONS)?;
    let function = Function::read(item, "Args", "a tool")?;
    let headers = options.pairs("header")?;
    let name = function.name();
    let wire_name = function.wire_name(&options)?;
    let schema = schema(&function, headers)?;
    let handler = handler(&function);
    let output = function.output();
    let calls = calls(&function, &options)?;
    let output_schema = quote_spanned!(output.span()=> (&&&__probe).kind().schema(&__probe));
    let entry = quote! {
        #[allow(unused_imports)]
        use __andon::output_kind::{FallibleKind as _, KnownKind as _, OwnKind as _, Probe};
        let __probe = Probe::<#output>::new();
        let (__schema, __accepted) = #schema;
        let __entry = __andon::ToolEntry::new(#wire_name, __schema, #name {}).accepted_schema(__accepted) #calls;
        match #output_schema {
            ::core::option::Option::Some(__schema) => __entry.output_schema(__schema),
            ::core::option::Option::None => __entry,
        }
    };
    Ok(function.emit(&format_ident!("ToolEntry"), &entry, &handler))
}

/// An expression for the schema of the arguments as clients are told it, and as it is taken.
fn schema(function: &Function, headers: &[(Ident, Expr)]) -> Result<TokenStream> {
    if let Some(whole) = function.parameters.iter().find(|it| matches!(it.source, Source::Whole)) {
        let Some(inner) = inside(&whole.ty, "Args") else {
            return Err(Error::new(whole.ty.span(), "write `Args<T>`"));
        };
        let headers = headers.iter().map(|(name, header)| {
            let name = name.to_string();
            quote!((#name, #header))
        });
        return Ok(quote_spanned!(inner.span()=> (
            __andon::schema_with_headers::<#inner>(&[#(#headers),*]),
            __andon::accepted_schema_of::<#inner>(),
        )));
    }
    for (name, _) in headers {
        if !function.parameters.iter().any(|it| it.is_argument() && it.name == *name) {
            return Err(Error::new(name.span(), format!("there is no argument `{name}` to mirror in a header")));
        }
    }
    let properties = function.parameters.iter().filter(|it| it.is_argument()).map(|it| property(it, headers));
    let title = format!("{}Arguments", function.name());
    Ok(quote!({
        struct __Arguments;
        impl __andon::schemars::JsonSchema for __Arguments {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                ::std::borrow::Cow::Borrowed(#title)
            }

            fn json_schema(__generator: &mut __andon::schemars::SchemaGenerator) -> __andon::schemars::Schema {
                __andon::ArgumentsSchema::new(__generator) #(#properties)* .finish()
            }
        }
        (__andon::schema_of::<__Arguments>(), __andon::accepted_schema_of::<__Arguments>())
    }))
}

/// A call that adds the property of `parameter` to the schema.
fn property(parameter: &Parameter, headers: &[(Ident, Expr)]) -> TokenStream {
    let wire = parameter.wire_name();
    let option = |value: Option<TokenStream>| match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    };
    let description = option(parameter.doc.as_ref().map(|doc| quote!(#doc)));
    let header = headers.iter().find(|(name, _)| *name == parameter.name);
    let header = option(header.map(|(_, header)| quote!(#header)));
    let ty = &parameter.ty;
    let (method, ty, default) = match &parameter.source {
        // Of the whole `Option`, so that null is one of its values.
        Source::Optional(_) => (quote!(optional), ty, None),
        Source::Default(default) => (quote!(optional), ty, Some(quote!(__andon::default_of::<#ty>(&#default)))),
        _ => (quote!(required), ty, None),
    };
    let default = option(default);
    let method = quote_spanned!(ty.span()=> #method::<#ty>);
    quote! {
        .#method(#wire, __andon::ArgumentNote { description: #description, default: #default, header: #header })
    }
}

fn handler(function: &Function) -> TokenStream {
    let name = function.name();
    let output = function.output();
    let names: Vec<&Ident> = function.parameters.iter().map(|it| &it.name).collect();
    let arguments: Vec<&Parameter> = function.parameters.iter().filter(|it| it.is_argument()).collect();
    let argument_names = arguments.iter().map(|it| &it.name);
    let reads = arguments.iter().map(|it| read(it));
    let members = (!arguments.is_empty()).then(|| {
        quote! {
            let (#(#argument_names,)*) = {
                let __members = __arguments.members()?;
                (#(#reads,)*)
            };
        }
    });
    let rest = function.parameters.iter().filter(|it| !it.is_argument()).map(|it| {
        let (name, ty) = (&it.name, &it.ty);
        match it.source {
            Source::Whole => quote!(let #name: #ty = __andon::Args(__arguments.parse()?);),
            _ => quote_spanned!(ty.span()=> let #name = <#ty as __andon::FromContext>::from_context(&__context)?;),
        }
    });
    let convert = quote_spanned!(output.span()=> (&&&Probe::<#output>::new()).kind().convert(__result));
    quote! {
        impl __andon::ToolHandler for #name {
            fn call(
                &self,
                __arguments: __andon::Arguments,
                __context: __andon::Context,
            ) -> __andon::BoxFuture<'static, ::core::result::Result<__andon::CallToolResult, __andon::ToolError>> {
                #[allow(unused_imports)]
                use __andon::output_kind::{FallibleKind as _, KnownKind as _, OwnKind as _, Probe};
                ::std::boxed::Box::pin(async move {
                    #members
                    #(#rest)*
                    let __result: #output = #name::call(#(#names),*).await;
                    #convert
                })
            }
        }
    }
}

/// An expression for the value of an argument.
fn read(parameter: &Parameter) -> TokenStream {
    let wire = parameter.wire_name();
    let ty = &parameter.ty;
    match &parameter.source {
        Source::Optional(inner) => quote_spanned!(inner.span()=> __members.optional::<#inner>(#wire)?),
        Source::Default(default) => {
            let read = quote_spanned!(ty.span()=> __members.optional::<#ty>(#wire)?);
            or_default(&read, default)
        }
        _ => quote_spanned!(ty.span()=> __members.required::<#ty>(#wire)?),
    }
}

/// Calls on the entry.
fn calls(function: &Function, options: &Options) -> Result<TokenStream> {
    let mut calls = function.common(options)?;
    let hints = [
        ("read_only", quote!(read_only_hint)),
        ("idempotent", quote!(idempotent_hint)),
        ("destructive", quote!(destructive_hint)),
        ("open_world", quote!(open_world_hint)),
    ];
    let mut set = TokenStream::new();
    for (name, field) in hints {
        if let Some(flag) = options.flag(name)? {
            set.extend(quote!(#field: ::core::option::Option::Some(#flag),));
        }
    }
    if !set.is_empty() {
        calls.extend(quote!(.annotations(__andon::ToolAnnotations { #set ..::core::default::Default::default() })));
    }
    if let Some(ms) = options.duration_ms("timeout")? {
        calls.extend(quote!(.timeout(::core::time::Duration::from_millis(#ms))));
    }
    if let Some(calls_max) = options.number("max_in_flight")? {
        calls.extend(quote!(.max_in_flight(#calls_max)));
    }
    calls.extend(task(options)?);
    Ok(calls)
}

/// A call that says whether and when the tool runs as a task.
fn task(options: &Options) -> Result<TokenStream> {
    let optional = quote!(.task(__andon::TaskSupport::Optional));
    let Some((span, word)) = options.word("task")? else { return Ok(TokenStream::new()) };
    match word.as_deref() {
        None | Some("optional") => Ok(optional),
        Some("required") => Ok(quote!(.task(__andon::TaskSupport::Required))),
        Some("late") => Ok(quote!(.late_task(__andon::TaskSupport::Optional))),
        Some(_) => Err(Error::new(span, "a task is \"optional\", \"required\" or \"late\"")),
    }
}
