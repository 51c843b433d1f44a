package main

import (
	"encoding/json"
	"slices"
)

// policyDocument is a policy of IAM ("IAM JSON policy elements reference" in its
// user guide).
type policyDocument struct {
	Version   string
	Statement []*policyStatement
}

// policyStatement allows actions. Its lists are sorted and hold nothing twice.
type policyStatement struct {
	Sid       string
	Effect    string
	Principal map[string]string `json:",omitempty"`
	Action    []string
	Resource  []string        `json:",omitempty"`
	Condition policyCondition `json:",omitempty"`
}

// policyCondition holds values by operator and key.
type policyCondition map[string]map[string][]string

// newPolicy makes a document of statements in the order of their Sids, so that
// the same configuration always gives the same text.
func newPolicy(statements ...*policyStatement) policyDocument {
	slices.SortFunc(statements, func(a, b *policyStatement) int {
		if a.Sid < b.Sid {
			return -1
		}
		return 1 // no two have the same
	})
	return policyDocument{Version: "2012-10-17", Statement: statements}
}

// allow widens the statement to one more resource under one more condition.
func (s *policyStatement) allow(resource string, condition policyCondition) {
	s.Resource = insert(s.Resource, resource)
	for operator, keys := range condition {
		for key, values := range keys {
			for _, value := range values {
				s.Condition = s.Condition.with(operator, key, value)
			}
		}
	}
}

func (c policyCondition) with(operator, key, value string) policyCondition {
	if c == nil {
		c = policyCondition{}
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

func indented(v any) string {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // strings, lists and maps of them always encode
	}
	return string(text) + "\n"
}
