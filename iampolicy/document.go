package iampolicy

import (
	"slices"
)

// Document is a policy of IAM ("IAM JSON policy elements reference" in its
// user guide).
type Document struct {
	Version   string
	Statement []*Statement
}

// Statement allows actions. Its lists are sorted and hold nothing twice.
type Statement struct {
	Sid       string
	Effect    string
	Principal map[string]string `json:",omitempty"`
	Action    []string
	Resource  []string  `json:",omitempty"`
	Condition Condition `json:",omitempty"`
}

// Condition holds values by operator and key.
type Condition map[string]map[string][]string

// newDocument makes a document of statements in the order of their Sids, so that
// the same configuration always gives the same text.
func newDocument(statements ...*Statement) Document {
	slices.SortFunc(statements, func(a, b *Statement) int {
		if a.Sid < b.Sid {
			return -1
		}
		return 1 // no two have the same
	})
	return Document{Version: "2012-10-17", Statement: statements}
}

// allow widens the statement to one more resource under one more condition.
func (s *Statement) allow(resource string, condition Condition) {
	s.Resource = insert(s.Resource, resource)
	for operator, keys := range condition {
		for key, values := range keys {
			for _, value := range values {
				s.Condition = s.Condition.with(operator, key, value)
			}
		}
	}
}

func (c Condition) with(operator, key, value string) Condition {
	if c == nil {
		c = Condition{}
	}
	if c[operator] == nil {
		c[operator] = map[string][]string{}
	}
	c[operator][key] = insert(c[operator][key], value)
	return c
}

// insert puts s into a sorted list that does not have it yet.
func insert(sorted []string, s string) []string {
	if at, found := slices.BinarySearch(sorted, s); !found {
		return slices.Insert(sorted, at, s)
	}
	return sorted
}
