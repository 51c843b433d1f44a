package awsstub

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

// keyConditions are those that AllowPolicy takes to be met: which service a key is used through, and the alias it has.
var keyConditions = []string{"kms:viaservice", "kms:resourcealiases"}

type policyDocument struct {
	Version   string
	Statement oneOrMore[policyStatement]
}

type policyStatement struct {
	Sid, Effect string
	Action      oneOrMore[string]
	Resource    oneOrMore[string]
	Condition   map[string]map[string]json.RawMessage
}

// oneOrMore is a JSON list whose only member may stand for it.
type oneOrMore[T any] []T

func (l *oneOrMore[T]) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		return strictly(data, (*[]T)(l))
	}
	var one T
	if err := strictly(data, &one); err != nil {
		return err
	}
	*l = oneOrMore[T]{one}
	return nil
}

// strictly refuses members that v has no place for.
func strictly(data []byte, v any) error {
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// AllowPolicy makes of an identity-based IAM policy what Identity.Allow and Role.Allow take: a statement that denies
// wins, else one that allows is needed. Action and Resource may have * and ?. The conditions kms:ViaService and
// kms:ResourceAliases count as met, since each use of a key here is one through Secrets Manager. Whatever else a
// document may have, such as NotAction, other conditions and variables, is an error rather than ignored.
func AllowPolicy(document []byte) (func(action, resource string) bool, error) {
	var doc policyDocument
	if err := strictly(document, &doc); err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	for i, st := range doc.Statement {
		if err := st.check(); err != nil {
			return nil, fmt.Errorf("policy statement %d (%s): %w", i+1, st.Sid, err)
		}
	}
	return func(action, resource string) bool {
		allowed := false
		for _, st := range doc.Statement {
			if st.applies(action, resource) {
				if st.Effect == "Deny" {
					return false
				}
				allowed = true
			}
		}
		return allowed
	}, nil
}

func (st policyStatement) check() error {
	if st.Effect != "Allow" && st.Effect != "Deny" {
		return fmt.Errorf("effect %q is neither Allow nor Deny", st.Effect)
	}
	if len(st.Action) == 0 || len(st.Resource) == 0 {
		return fmt.Errorf("it lacks Action or Resource")
	}
	for _, pattern := range slices.Concat(st.Action, st.Resource) {
		if strings.Contains(pattern, "${") {
			return fmt.Errorf("%s: variables are not understood here", pattern)
		}
	}
	for operator, keys := range st.Condition {
		for key := range keys {
			if st.Effect == "Deny" || !slices.Contains(keyConditions, strings.ToLower(key)) {
				return fmt.Errorf("condition %s %s is not understood here", operator, key)
			}
		}
	}
	return nil
}

// applies reports whether the statement speaks of the action on the resource. Only actions ignore case.
func (st policyStatement) applies(action, resource string) bool {
	return slices.ContainsFunc(st.Action, func(p string) bool { return wildcard(strings.ToLower(p), strings.ToLower(action)) }) &&
		slices.ContainsFunc(st.Resource, func(p string) bool { return wildcard(p, resource) })
}

// wildcard matches * with any text and ? with any one character.
func wildcard(pattern, s string) bool {
	// path.Match has the two, but stops * at slashes, and knows more that is plain text here.
	plain := strings.NewReplacer("/", "\x00", `\`, `\\`, "[", `\[`)
	ok, err := path.Match(plain.Replace(pattern), strings.ReplaceAll(s, "/", "\x00"))
	return ok && err == nil
}

// keyUse is what an operation does with the key of the secret's own.
var keyUse = map[string][]string{
	"GetSecretValue": {"kms:Decrypt"},
	"PutSecretValue": {"kms:GenerateDataKey", "kms:Decrypt"},
}

// mayUseKey holds the caller to its rights on the secret's key, where that is named by its ARN: an alias, or none, is
// open to everybody who may use the secret, as aws/secretsmanager is.
func (s *Server) mayUseKey(x *exchange) error {
	s.mu.Lock()
	sec := s.find(x.named.id())
	key := ""
	if sec != nil {
		key = sec.KMSKeyID
	}
	s.mu.Unlock()
	if !strings.HasPrefix(key, "arn:") {
		return nil
	}
	for _, action := range keyUse[x.call.Operation] {
		if x.caller.allowed(action, key) != nil {
			return refuse("AccessDeniedException", "Access to KMS is not allowed")
		}
	}
	return nil
}
