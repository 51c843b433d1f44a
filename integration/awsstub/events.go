package awsstub

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// labelUpdated is the event that Secrets Manager sends to EventBridge when a staging label moves to another version, in
// EventBridge's envelope
// (https://docs.aws.amazon.com/secretsmanager/latest/userguide/event-detail-secret-label-updated-secretsmanager.html).
type labelUpdated struct {
	Version    string      `json:"version"`
	ID         string      `json:"id"`
	DetailType string      `json:"detail-type"`
	Source     string      `json:"source"`
	Account    string      `json:"account"`
	Time       string      `json:"time"`
	Region     string      `json:"region"`
	Resources  []string    `json:"resources"`
	Detail     labelDetail `json:"detail"`
}

type labelDetail struct {
	Name         string `json:"name"`
	LabelUpdated string `json:"labelUpdated"`
	VersionID    string `json:"versionId"`
}

// tell sends the event of a label that moved to every queue, as a rule for all secrets would with all queues as its
// targets. Secrets Manager sends none for AWSPENDING and AWSPREVIOUS. s.mu is held.
func (s *Server) tell(sec *Secret, label string, v *Version, now time.Time) {
	if label == Pending || label == Previous {
		return
	}
	event := labelUpdated{
		Version: "0", ID: uuid.NewString(), DetailType: "Secret Label Updated", Source: "aws.secretsmanager",
		Account: AccountID, Time: now.UTC().Format(time.RFC3339), Region: s.region, Resources: []string{sec.ARN},
		Detail: labelDetail{Name: sec.Name, LabelUpdated: label, VersionID: v.ID},
	}
	body, _ := json.Marshal(event) // strings always encode
	s.queues.sendAll(string(body))
}
