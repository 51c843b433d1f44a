package config

import (
	"fmt"

	"go.yaml.in/yaml/v4"
)

// anchors holds those of a file by name. The parser's own would end at the first alias
// without one.
type anchors map[string]*yaml.Node

// undefined is what an alias stands for that has no anchor before it.
var undefined = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}

// NewAliasDataContext implements yaml.AliasDataPlugin. Like the methods below, it serves one file.
func (a anchors) NewAliasDataContext(yaml.AliasDataServices) (yaml.AliasDataContext, error) {
	return a, nil
}

// BeginDocument implements yaml.AliasDataContext.
func (anchors) BeginDocument() error { return nil }

// EndDocument implements yaml.AliasDataContext.
func (anchors) EndDocument() error { return nil }

// DefineAnchor implements yaml.AliasDataContext.
func (a anchors) DefineAnchor(name string, n *yaml.Node) error {
	if a[name] != nil {
		return complaint(fmt.Sprintf("anchor %q is defined twice; use another name", shorten(name)))
	}
	a[name] = n
	return nil
}

// ResolveAlias implements yaml.AliasDataContext.
func (a anchors) ResolveAlias(name string) (*yaml.Node, bool, error) {
	if n := a[name]; n != nil {
		return n, true, nil
	}
	return undefined, true, nil
}
