//! The function under the attribute: what its parameters are, and what is emitted in its place.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::spanned::Spanned as _;
use syn::{
    Attribute, Error, Expr, FnArg, GenericArgument, Ident, ItemFn, Lit, Meta, Pat, PatType, PathArguments, Result,
    ReturnType, Type,
};

use crate::options::Options;

/// A parameter of the function.
pub(crate) struct Parameter {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) source: Source,
    pub(crate) doc: Option<String>,
}

/// Where a parameter's value comes from.
pub(crate) enum Source {
    /// From the context.
    Extractor,
    /// The whole of what the caller gave: `Args<T>`, `ReadRequest`, `PromptArguments`.
    Whole,
    /// One argument that has to be given.
    Required,
    /// One argument that may be left out; the type inside the `Option`.
    Optional(Box<Type>),
    /// One argument that may be left out, and what stands in.
    Default(Box<Expr>),
}

impl Parameter {
    /// The argument's name on the wire.
    pub(crate) fn wire_name(&self) -> String {
        self.name.to_string().trim_start_matches("r#").to_owned()
    }

    pub(crate) fn is_argument(&self) -> bool {
        !matches!(self.source, Source::Extractor | Source::Whole)
    }
}

/// The function, taken apart.
pub(crate) struct Function {
    item: ItemFn,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) doc: Option<String>,
}

const EXTRACTORS: [&str; 4] = ["Context", "State", "Principal", "Meta"];

impl Function {
    /// Reads `item`; `whole` is the name of the type that takes all that the caller gave, and `what` names the item.
    pub(crate) fn read(mut item: ItemFn, whole: &str, what: &str) -> Result<Self> {
        let signature = &item.sig;
        if signature.asyncness.is_none() {
            return Err(Error::new(signature.fn_token.span, format!("{what} is an `async fn`")));
        }
        if !signature.generics.params.is_empty() {
            return Err(Error::new(signature.generics.span(), format!("{what} has no generic parameters")));
        }
        if let ReturnType::Type(_, ty) = &signature.output
            && matches!(**ty, Type::ImplTrait(_))
        {
            return Err(Error::new(ty.span(), format!("{what} names its return type, without `impl`")));
        }
        let doc = take_doc(&mut item.attrs);
        let mut parameters = Vec::new();
        for input in &mut item.sig.inputs {
            match input {
                FnArg::Typed(input) => parameters.push(parameter(input, whole)?),
                FnArg::Receiver(receiver) => {
                    return Err(Error::new(receiver.span(), format!("{what} is a free function, without `self`")));
                }
            }
        }
        let wholes: Vec<&Parameter> = parameters.iter().filter(|it| matches!(it.source, Source::Whole)).collect();
        if let [_, second, ..] = wholes[..] {
            return Err(Error::new(second.ty.span(), format!("`{whole}` takes all there is, once")));
        }
        if let ([_], Some(single)) = (&wholes[..], parameters.iter().find(|it| it.is_argument()))
            && whole == "Args"
        {
            let why = format!("`Args` takes all arguments: make `{}` a field of its struct", single.name);
            return Err(Error::new(single.ty.span(), why));
        }
        Ok(Self { item, parameters, doc })
    }

    pub(crate) fn name(&self) -> &Ident {
        &self.item.sig.ident
    }

    /// The name on the wire: an option, or the function's.
    pub(crate) fn wire_name(&self, options: &Options) -> Result<String> {
        let given = options.text("name")?.map(syn::LitStr::value);
        Ok(given.unwrap_or_else(|| self.name().to_string().trim_start_matches("r#").to_owned()))
    }

    /// The return type.
    pub(crate) fn output(&self) -> Type {
        match &self.item.sig.output {
            ReturnType::Default => syn::parse_quote!(()),
            ReturnType::Type(_, ty) => (**ty).clone(),
        }
    }

    /// Calls for what all kinds of entries have: title, description, icon, needs.
    pub(crate) fn common(&self, options: &Options) -> Result<TokenStream> {
        let mut calls = TokenStream::new();
        let doc = options.text("description")?.map(syn::LitStr::value).or_else(|| self.doc.clone());
        calls.extend(doc.map(|doc| quote!(.description(#doc))));
        calls.extend(options.text("title")?.map(|title| quote!(.title(#title))));
        if let Some(icon) = options.text("icon")? {
            calls.extend(quote!(.icon(__andon::icon(#icon))));
        }
        if let Some(scopes) = options.text("scope")? {
            let written = scopes.value();
            if written.split_ascii_whitespace().next().is_none() {
                return Err(Error::new(scopes.span(), "a scope is not empty"));
            }
            calls.extend(written.split_ascii_whitespace().map(|scope| quote!(.scope(#scope))));
        }
        for parameter in self.parameters.iter().filter(|it| matches!(it.source, Source::Extractor)) {
            let ty = &parameter.ty;
            calls.extend(quote!(.needs(<#ty as __andon::FromContext>::needs())));
        }
        Ok(calls)
    }

    /// Calls for the completers of `complete(argument = function)`.
    pub(crate) fn completers(&self, options: &Options) -> Result<TokenStream> {
        let mut calls = TokenStream::new();
        for (name, completer) in options.pairs("complete")? {
            let wire = name.to_string();
            if !self.parameters.iter().any(|it| it.is_argument() && it.wire_name() == wire) {
                return Err(Error::new(name.span(), format!("there is no argument `{wire}` to complete")));
            }
            calls.extend(quote!(.complete(#wire, #completer)));
        }
        Ok(calls)
    }

    /// What stands in the function's place: a function of the same name that makes the entry by the expression
    /// `entry`, and a type of the same name with the function as `call`, which `rest` makes a handler. A unit struct
    /// would do for both, but its name could not be given to a variable any more.
    pub(crate) fn emit(&self, kind: &Ident, entry: &TokenStream, rest: &TokenStream) -> TokenStream {
        let ItemFn { attrs, vis, sig, block, .. } = &self.item;
        let name = &sig.ident;
        let (cfgs, attrs): (Vec<&Attribute>, Vec<&Attribute>) = attrs.iter().partition(|it| it.path().is_ident("cfg"));
        let doc = self.doc.clone().unwrap_or_else(|| format!("The entry of `{name}`, to be given to a server."));
        let mut inner = sig.clone();
        inner.ident = format_ident!("call", span = name.span());
        quote! {
            #(#cfgs)*
            #[doc = #doc]
            #vis fn #name() -> ::andon::__private::#kind {
                use ::andon::__private as __andon;
                #entry
            }

            #(#cfgs)*
            #[doc = #doc]
            #[allow(non_camel_case_types)]
            #vis struct #name {}

            #(#cfgs)*
            impl #name {
                /// The function itself.
                #(#attrs)*
                #vis #inner #block
            }

            #(#cfgs)*
            const _: () = {
                use ::andon::__private as __andon;
                #rest
            };
        }
    }
}

fn parameter(input: &mut PatType, whole: &str) -> Result<Parameter> {
    let Pat::Ident(pattern) = &*input.pat else {
        return Err(Error::new(input.pat.span(), "a parameter has a plain name"));
    };
    let name = pattern.ident.clone();
    let doc = take_doc(&mut input.attrs);
    let extract = take(&mut input.attrs, "extract")?.is_some();
    let default = take(&mut input.attrs, "default")?;
    let ty = (*input.ty).clone();
    if let Type::Reference(reference) = &ty {
        let why = format!("`{name}` is borrowed, but a handler owns its parameters: `String` rather than `&str`");
        return Err(Error::new(reference.span(), why));
    }
    let last = last_segment(&ty);
    let source = if extract || last.is_some_and(|ident| EXTRACTORS.iter().any(|known| ident == known)) {
        Source::Extractor
    } else if last.is_some_and(|ident| ident == whole) {
        Source::Whole
    } else if let Some(default) = default {
        Source::Default(Box::new(match &default.meta {
            Meta::List(list) => list.parse_args()?,
            _ => syn::parse_quote!(::core::default::Default::default()),
        }))
    } else if let Some(inner) = inside(&ty, "Option") {
        Source::Optional(Box::new(inner))
    } else {
        Source::Required
    };
    Ok(Parameter { name, ty, source, doc })
}

/// An expression for what `read`, an expression for an `Option`, has in it, or else for `default`.
pub(crate) fn or_default(read: &TokenStream, default: &Expr) -> TokenStream {
    quote! {
        match #read {
            ::core::option::Option::Some(__value) => __value,
            ::core::option::Option::None => #default,
        }
    }
}

fn last_segment(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        _ => None,
    }
}

/// The `T` of `Wrapper<T>`.
pub(crate) fn inside(ty: &Type, wrapper: &str) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last().filter(|segment| segment.ident == wrapper)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}

/// Takes the attribute `name` out of `attrs`; it may stand once.
fn take(attrs: &mut Vec<Attribute>, name: &str) -> Result<Option<Attribute>> {
    let Some(index) = attrs.iter().position(|it| it.path().is_ident(name)) else { return Ok(None) };
    let taken = attrs.remove(index);
    match attrs.iter().find(|it| it.path().is_ident(name)) {
        Some(second) => Err(Error::new(second.span(), format!("`{name}` stands twice"))),
        None => Ok(Some(taken)),
    }
}

/// Takes the doc comment out of `attrs`, as one text.
fn take_doc(attrs: &mut Vec<Attribute>) -> Option<String> {
    let mut lines = Vec::new();
    attrs.retain(|attribute| {
        if let Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let Expr::Lit(literal) = &pair.value
            && let Lit::Str(text) = &literal.lit
        {
            let text = text.value();
            lines.extend(text.split('\n').map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned()));
            return false;
        }
        true
    });
    let text = lines.join("\n").trim().to_owned();
    (!text.is_empty()).then_some(text)
}
