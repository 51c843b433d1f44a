package awsstub

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// The staging labels that Secrets Manager itself moves.
const (
	Current  = "AWSCURRENT"
	Pending  = "AWSPENDING"
	Previous = "AWSPREVIOUS"
)

const (
	maxValue    = 64 << 10
	maxVersions = 100 // beyond it, versions without a label go once they are a day old
	versionKept = 24 * time.Hour
)

// Secret is a secret with all its versions.
type Secret struct {
	Name, ARN, Description  string
	KMSKeyID, OwningService string // OwningService "rds" marks a secret that RDS manages
	Tags                    []types.Tag
	Created, Changed        time.Time
	Accessed, Deleted       time.Time // zero: never

	RotationEnabled           bool
	RotationLambdaARN         string
	RotationRules             *types.RotationRulesType
	LastRotated, NextRotation time.Time

	Versions []*Version // oldest first

	moved func(sec *Secret, label string, v *Version, now time.Time) // told of labels that move to another version
}

// Version is one value of a secret. It has no value between RotateSecret and the rotation's createSecret step.
type Version struct {
	ID      string
	Text    *string
	Binary  []byte
	Stages  []string // sorted; none: the version is deprecated
	Created time.Time
}

func (v *Version) empty() bool { return v.Text == nil && v.Binary == nil }

func (v *Version) sameValue(text *string, binary []byte) bool {
	if (v.Text == nil) != (text == nil) || (v.Binary == nil) != (binary == nil) {
		return false
	}
	return (text == nil || *v.Text == *text) && slices.Equal(v.Binary, binary)
}

// Stage returns the version that carries label, or nil.
func (sec *Secret) Stage(label string) *Version {
	for _, v := range sec.Versions {
		if slices.Contains(v.Stages, label) {
			return v
		}
	}
	return nil
}

// Version returns the version of that id, or nil.
func (sec *Secret) Version(id string) *Version {
	for _, v := range sec.Versions {
		if v.ID == id {
			return v
		}
	}
	return nil
}

// attach moves label to v. AWSPREVIOUS follows AWSCURRENT's last place, and the end of a rotation is noted.
func (sec *Secret) attach(label string, v *Version, now time.Time) {
	old := sec.Stage(label)
	if old == v {
		return
	}
	sec.detach(label)
	v.Stages = append(v.Stages, label)
	slices.Sort(v.Stages)
	sec.Changed = now
	if old == nil && label == Current {
		return // the secret's first version
	}
	if sec.moved != nil {
		sec.moved(sec, label, v, now)
	}
	if label != Current {
		return
	}
	sec.attach(Previous, old, now)
	if sec.RotationEnabled {
		sec.LastRotated = now
		if every, err := interval(sec.RotationRules); err == nil {
			sec.NextRotation = now.Add(every)
		}
	}
}

func (sec *Secret) detach(label string) {
	if v := sec.Stage(label); v != nil {
		v.Stages = slices.DeleteFunc(v.Stages, func(l string) bool { return l == label })
	}
}

// put adds v with its labels; AWSCURRENT if none are given or there is no current version yet.
func (sec *Secret) put(v *Version, stages []string, now time.Time) {
	if !slices.Contains(sec.Versions, v) {
		sec.Versions = append(sec.Versions, v)
	}
	if len(stages) == 0 || sec.Stage(Current) == nil {
		stages = append(slices.Clone(stages), Current)
	}
	for _, label := range stages {
		sec.attach(label, v, now)
	}
	sec.Changed = now
	sec.dropDeprecated(now)
}

// dropDeprecated removes what Secrets Manager would have removed by now: it is in no hurry.
func (sec *Secret) dropDeprecated(now time.Time) {
	excess := len(sec.Versions) - maxVersions
	sec.Versions = slices.DeleteFunc(sec.Versions, func(v *Version) bool {
		if excess <= 0 || len(v.Stages) > 0 || now.Sub(v.Created) < versionKept {
			return false
		}
		excess--
		return true
	})
}

// moveLabel is UpdateSecretVersionStage: to may be empty, and from must name the version that has the label now.
func (sec *Secret) moveLabel(label, from, to string, now time.Time) error {
	holder := sec.Stage(label)
	if to == "" {
		return sec.removeLabel(label, from)
	}
	target := sec.Version(to)
	switch {
	case target == nil:
		return noVersion(to)
	case holder == target:
		return nil
	case holder == nil && from != "":
		return refuse("InvalidParameterException", "Staging label %s is not attached to version %s.", label, from)
	case holder != nil && from == "":
		return refuse("InvalidParameterException", "The parameter RemoveFromVersionId can't be empty. Staging label %s is currently "+
			"attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", label, holder.ID)
	case holder != nil && from != holder.ID:
		return refuse("InvalidParameterException", "The parameter RemoveFromVersionId can't be %s. Staging label %s is currently "+
			"attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", from, label, holder.ID)
	}
	sec.attach(label, target, now)
	return nil
}

func (sec *Secret) removeLabel(label, from string) error {
	holder := sec.Stage(label)
	switch {
	case from == "":
		return refuse("InvalidParameterException", "You must specify RemoveFromVersionId, MoveToVersionId, or both.")
	case label == Current:
		return refuse("InvalidParameterException", "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.")
	case holder == nil || holder.ID != from:
		return refuse("InvalidParameterException", "Staging label %s is not attached to version %s.", label, from)
	}
	sec.detach(label)
	return nil
}

// clone is a copy that shares nothing that changes.
func (sec *Secret) clone() *Secret {
	c := *sec
	c.Tags = slices.Clone(sec.Tags)
	c.Versions = make([]*Version, len(sec.Versions))
	for i, v := range sec.Versions {
		own := *v
		own.Stages = slices.Clone(v.Stages)
		own.Binary = slices.Clone(v.Binary)
		c.Versions[i] = &own
	}
	return &c
}

// stages is VersionIdsToStages: deprecated versions are not in it.
func (sec *Secret) stages() map[string][]string {
	m := make(map[string][]string)
	for _, v := range sec.Versions {
		if len(v.Stages) > 0 {
			m[v.ID] = slices.Clone(v.Stages)
		}
	}
	return m
}

func noSecret() *apiError {
	return refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

func noVersion(id string) *apiError {
	return refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: %s", id)
}

var validName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]{1,512}$`)

// create makes a secret, with v as its first version unless that is nil. s.mu is held.
func (s *Server) create(name string, v *Version) (*Secret, error) {
	if !validName.MatchString(name) {
		return nil, refuse("ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	}
	if old := s.secrets[name]; old != nil && !old.Deleted.IsZero() {
		return nil, refuse("InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion.")
	} else if old != nil {
		return nil, refuse("ResourceExistsException", "The operation failed because the secret %s already exists.", name)
	}
	now := s.now()
	sec := &Secret{Name: name, ARN: s.arnPrefix() + name + "-" + randomText(6), Created: now, Changed: now, moved: s.tell}
	if v != nil {
		v.Created = now
		sec.put(v, nil, now)
	}
	s.secrets[name] = sec
	return sec, nil
}

func (s *Server) arnPrefix() string {
	return "arn:aws:secretsmanager:" + s.region + ":" + AccountID + ":secret:"
}

// find returns the secret of a name, an ARN, or an ARN without its random suffix; nil if there is none. s.mu is held.
func (s *Server) find(id string) *Secret {
	if sec := s.secrets[strings.TrimPrefix(id, s.arnPrefix())]; sec != nil {
		return sec
	}
	if len(id) > 7 && strings.HasPrefix(id, s.arnPrefix()) {
		if sec := s.secrets[strings.TrimPrefix(id[:len(id)-7], s.arnPrefix())]; sec != nil && sec.ARN == id {
			return sec
		}
	}
	return nil
}

func (s *Server) arnOf(id string) string {
	if sec := s.find(id); sec != nil {
		return sec.ARN
	}
	return id
}

// living is find, with the errors for a secret that is not there or is deleted. s.mu is held.
func (s *Server) living(id string) (*Secret, error) {
	sec := s.find(id)
	switch {
	case sec == nil:
		return nil, noSecret()
	case !sec.Deleted.IsZero():
		return nil, refuse("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
	}
	return sec, nil
}
