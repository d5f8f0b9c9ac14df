package template

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
	"text/template/parse"
)

// A place is where in an HTML page a piece of template stands.
type place struct {
	in        region
	element   string // whose tag this is
	attribute string // whose value this is
	begun     bool   // there is text of the URL before this
}

type region int

const (
	content region = iota
	tag            // between < and >, not in a value
	value          // of an attribute, in double quotes
	raw            // in a script or a stylesheet
)

// URLs are followed by browsers. A value that is a whole URL must be a path of this site.
var urls = []string{
	"action", "background", "cite", "data", "formaction", "href", "longdesc", "manifest", "poster", "src", "usemap",
	"xlink:href",
}

// In these a browser reads more than text or one URL.
var closed = []string{"content", "ping", "srcdoc", "srcset", "style"}

// An escaper walks through a page's templates and notes where each value stands.
type escaper map[*parse.ActionNode]place

// template checks that a template begins and ends in text, so that it may stand wherever text may.
func (e escaper) template(tree *parse.Tree) error {
	end, err := e.list(tree.Root, place{})
	if err == nil && end.in != content {
		err = errors.New("it ends within a tag or a script")
	}
	if err != nil {
		return fmt.Errorf("template %q: %w", tree.Name, err)
	}
	return nil
}

func (e escaper) list(list *parse.ListNode, p place) (place, error) {
	if list == nil {
		return p, nil
	}
	var err error
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.TextNode:
			p, err = p.after(n.Text)
		case *parse.ActionNode:
			if len(n.Pipe.Decl) == 0 {
				e[n] = p
				err = p.admits(n)
				p.begun = p.takesURL()
			}
		case *parse.TemplateNode:
			if p.in != content {
				err = fmt.Errorf("%s does not stand in text", n)
			}
		case *parse.IfNode:
			p, err = e.branch(&n.BranchNode, p)
		case *parse.WithNode:
			p, err = e.branch(&n.BranchNode, p)
		case *parse.RangeNode:
			var end place
			if end, err = e.branch(&n.BranchNode, p); err == nil && end != p {
				err = fmt.Errorf("{{range %s}} ends elsewhere than it begins", n.Pipe)
			}
		}
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// branch demands that both ways end in one place.
func (e escaper) branch(n *parse.BranchNode, p place) (place, error) {
	end, err := e.list(n.List, p)
	if err != nil {
		return p, err
	}
	other, err := e.list(n.ElseList, p)
	if err == nil && end != other {
		err = fmt.Errorf("{{%s}} ends in two places", n.Pipe)
	}
	return end, err
}

// admits reports a value where escaping would not be enough.
func (p place) admits(n *parse.ActionNode) error {
	switch {
	case p.in == content:
		return nil
	case p.in != value:
		return fmt.Errorf("%s stands neither in text nor within double quotes", n)
	case strings.HasPrefix(p.attribute, "on") || slices.Contains(closed, p.attribute):
		return fmt.Errorf("%s stands in %s", n, p.attribute)
	}
	return nil
}

func (p place) takesURL() bool { return p.in == value && slices.Contains(urls, p.attribute) }

// after is the place behind a text.
func (p place) after(text []byte) (place, error) {
	for len(text) > 0 {
		switch p.in {
		case content:
			at := bytes.IndexByte(text, '<')
			if at < 0 {
				return p, nil
			}
			if text = text[at+1:]; bytes.HasPrefix(text, []byte("!--")) {
				return p, errors.New("comments are written {{/* so */}}")
			}
			end := bytes.IndexAny(text, " \n\t>")
			if end < 0 {
				end = len(text)
			}
			p, text = place{in: tag, element: strings.ToLower(string(text[:end]))}, text[end:]
		case tag:
			if text = bytes.TrimLeft(text, " \n\t/"); len(text) == 0 {
				return p, nil
			}
			if text[0] == '>' {
				next := place{}
				if p.element == "script" || p.element == "style" {
					next.in = raw
				}
				p, text = next, text[1:]
				continue
			}
			end := bytes.IndexAny(text, "= \n\t>")
			if end < 0 {
				return p, nil
			}
			name := strings.ToLower(string(text[:end]))
			if text = text[end:]; text[0] != '=' {
				continue
			}
			if !bytes.HasPrefix(text, []byte(`="`)) {
				return p, fmt.Errorf("the value of %s is not in double quotes", name)
			}
			p.in, p.attribute, p.begun, text = value, name, false, text[2:]
		case value:
			at := bytes.IndexByte(text, '"')
			if at < 0 {
				p.begun = p.takesURL()
				return p, nil
			}
			p, text = place{in: tag, element: p.element}, text[at+1:]
		case raw:
			at := bytes.Index(text, []byte("</"))
			if at < 0 {
				return p, nil
			}
			p.in, text = content, text[at:]
		}
	}
	return p, nil
}

// What browsers read is escaped as html/template does it, which includes the plus sign (UTF-7) and NUL.
var html5 = strings.NewReplacer("+", "&#43;", "\x00", "\uFFFD")

// escape makes a text of a value that stands there.
func (p place) escape(text string) string {
	switch {
	case !p.takesURL() || text == "":
	case p.begun:
		text = strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
	case !strings.HasPrefix(text, "/") || strings.HasPrefix(text, "//") || strings.ContainsAny(text, "\\\t\r\n"):
		return "#" // another site's, or a script
	}
	return html5.Replace(html.EscapeString(text))
}
