package awsstub

import (
	"time"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"
)

const day = 24 * time.Hour

func secretsManagerWrites() map[string]operation {
	return map[string]operation{
		"CreateSecret":             onSecret((*Server).createSecret),
		"PutSecretValue":           onSecret((*Server).putSecretValue),
		"UpdateSecretVersionStage": onSecret((*Server).updateSecretVersionStage),
		"DeleteSecret":             onSecret((*Server).deleteSecret),
		"RestoreSecret":            onSecret((*Server).restoreSecret),
	}
}

// secretNamed is the answer of operations that name the secret, and a version or a date if there is one.
type secretNamed struct {
	ARN, Name     string
	VersionID     string   `json:"VersionId,omitempty"`
	VersionStages []string `json:",omitempty"`
	DeletionDate  epoch    `json:",omitzero"`
}

func newVersionID() string { return uuid.NewString() }

// versionToken is the version id that a request's token asks for; the SDKs make one up for each request.
func versionToken(token *string) (string, error) {
	if token == nil {
		return newVersionID(), nil
	}
	if n := len(*token); n < 32 || n > 64 {
		return "", refuse("InvalidParameterException", "ClientRequestToken must be 32-64 characters long.")
	}
	return *token, nil
}

func checkValue(text *string, binary []byte) error {
	switch {
	case text == nil && binary == nil:
		return refuse("InvalidRequestException", "You must provide either SecretString or SecretBinary.")
	case text != nil && binary != nil:
		return refuse("InvalidParameterException", "You can't specify both a binary secret value and a string secret value in the same secret.")
	case len(binary) > maxValue || (text != nil && len(*text) > maxValue):
		return refuse("ValidationException", "The secret value is longer than %d bytes.", maxValue)
	}
	return nil
}

func (s *Server) createSecret(x *exchange, in *sm.CreateSecretInput) (any, error) {
	id, err := versionToken(in.ClientRequestToken)
	if err != nil {
		return nil, err
	}
	var first *Version
	if in.SecretString != nil || in.SecretBinary != nil {
		if err := checkValue(in.SecretString, in.SecretBinary); err != nil {
			return nil, err
		}
		first = &Version{ID: id, Text: in.SecretString, Binary: in.SecretBinary}
		x.served = id
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.create(text(in.Name), first)
	if err != nil {
		return nil, err
	}
	sec.Description, sec.KMSKeyID, sec.Tags = text(in.Description), text(in.KmsKeyId), in.Tags
	return secretNamed{ARN: sec.ARN, Name: sec.Name, VersionID: x.served}, nil
}

func (s *Server) putSecretValue(x *exchange, in *sm.PutSecretValueInput) (any, error) {
	id, err := versionToken(in.ClientRequestToken)
	if err != nil {
		return nil, err
	}
	if err := checkValue(in.SecretString, in.SecretBinary); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.living(text(in.SecretId))
	if err != nil {
		return nil, err
	}
	v := sec.Version(id)
	switch {
	case v == nil:
		v = &Version{ID: id, Created: s.now()}
		fallthrough
	case v.empty(): // the version that a rotation has begun with
		v.Text, v.Binary = in.SecretString, in.SecretBinary
		sec.put(v, in.VersionStages, s.now())
	case !v.sameValue(in.SecretString, in.SecretBinary):
		return nil, refuse("ResourceExistsException",
			"You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", id, sec.ARN)
	}
	x.served = id
	return secretNamed{ARN: sec.ARN, Name: sec.Name, VersionID: id, VersionStages: append([]string(nil), v.Stages...)}, nil
}

func (s *Server) updateSecretVersionStage(_ *exchange, in *sm.UpdateSecretVersionStageInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.living(text(in.SecretId))
	if err != nil {
		return nil, err
	}
	if text(in.VersionStage) == "" {
		return nil, refuse("InvalidParameterException", "You must specify VersionStage.")
	}
	if err := sec.moveLabel(*in.VersionStage, text(in.RemoveFromVersionId), text(in.MoveToVersionId), s.now()); err != nil {
		return nil, err
	}
	return secretNamed{ARN: sec.ARN, Name: sec.Name}, nil
}

func (s *Server) deleteSecret(_ *exchange, in *sm.DeleteSecretInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	force := in.ForceDeleteWithoutRecovery != nil && *in.ForceDeleteWithoutRecovery
	sec, err := s.living(text(in.SecretId))
	if err != nil {
		return nil, err
	}
	window := int64(30)
	if in.RecoveryWindowInDays != nil {
		window = *in.RecoveryWindowInDays
	}
	switch {
	case force && in.RecoveryWindowInDays != nil:
		return nil, refuse("InvalidParameterException", "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case window < 7 || window > 30:
		return nil, refuse("InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	}
	sec.Deleted = s.now()
	gone := epoch(sec.Deleted)
	if force {
		delete(s.secrets, sec.Name)
	} else {
		gone = epoch(sec.Deleted.Add(time.Duration(window) * day))
	}
	return secretNamed{ARN: sec.ARN, Name: sec.Name, DeletionDate: gone}, nil
}

func (s *Server) restoreSecret(_ *exchange, in *sm.RestoreSecretInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec := s.find(text(in.SecretId))
	if sec == nil {
		return nil, noSecret()
	}
	sec.Deleted = time.Time{}
	return secretNamed{ARN: sec.ARN, Name: sec.Name}, nil
}
