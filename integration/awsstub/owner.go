package awsstub

import (
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// What follows acts as the account's owner, without HTTP, permissions or faults. A secret may be named as in a request:
// by name, ARN, or ARN without suffix.

// CreateSecret makes a secret whose first version holds value and is AWSCURRENT.
func (s *Server) CreateSecret(name, value string) (arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.create(name, &Version{ID: newVersionID(), Text: &value})
	if err != nil {
		panic("awsstub: create secret: " + err.Error())
	}
	return sec.ARN
}

// PutSecret adds a version with these staging labels; with none, it becomes AWSCURRENT. A version that BeginRotation
// made and that still has no value is filled, if AWSPENDING is among the labels.
func (s *Server) PutSecret(name, value string, stages ...string) (versionID string) {
	s.onSecret(name, func(sec *Secret, now time.Time) {
		v := sec.Stage(Pending)
		if v == nil || !v.empty() || !slices.Contains(stages, Pending) {
			v = &Version{ID: newVersionID(), Created: now}
		}
		v.Text, versionID = &value, v.ID
		sec.put(v, stages, now)
	})
	return versionID
}

// BeginRotation leaves the secret as RotateSecret does until the rotation's createSecret step: AWSPENDING is on a new
// version that has no value, so DescribeSecret shows it and GetSecretValue does not find it.
func (s *Server) BeginRotation(name string) (versionID string) {
	versionID = newVersionID()
	s.onSecret(name, func(sec *Secret, now time.Time) { sec.begin(versionID, now) })
	return versionID
}

// MoveLabel puts a staging label on a version, wherever it was before; AWSPREVIOUS follows when AWSCURRENT moves. An
// empty version id takes the label away.
func (s *Server) MoveLabel(name, label, versionID string) {
	s.onSecret(name, func(sec *Secret, now time.Time) {
		if versionID == "" {
			sec.detach(label)
			return
		}
		v := sec.Version(versionID)
		if v == nil {
			panic("awsstub: secret " + name + " has no version " + versionID)
		}
		sec.attach(label, v, now)
	})
}

// Edit changes a secret's attributes, such as RotationEnabled, NextRotation, OwningService or Deleted. f must not call
// the server.
func (s *Server) Edit(name string, f func(*Secret)) {
	s.onSecret(name, func(sec *Secret, _ time.Time) { f(sec) })
}

// SetTag gives a secret a tag, such as aws:rds:primaryDBInstanceArn, which marks the secret of an instance's master.
func (s *Server) SetTag(name, key, value string) {
	s.onSecret(name, func(sec *Secret, _ time.Time) {
		sec.Tags = slices.DeleteFunc(slices.Clone(sec.Tags), func(t types.Tag) bool { return text(t.Key) == key })
		sec.Tags = append(sec.Tags, types.Tag{Key: &key, Value: &value})
	})
}

// Secret is a copy of a secret as it is now.
func (s *Server) Secret(name string) *Secret {
	var c *Secret
	s.onSecret(name, func(sec *Secret, _ time.Time) { c = sec.clone() })
	return c
}

func (s *Server) onSecret(name string, f func(*Secret, time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec := s.find(name)
	if sec == nil {
		panic("awsstub: no secret " + name)
	}
	f(sec, s.now())
}
