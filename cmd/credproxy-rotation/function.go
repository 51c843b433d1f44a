package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/rotation"
)

// function answers the events of the Lambda function.
type function struct {
	rotation *rotation.Rotation
	out      io.Writer // of metrics
}

// event is any of those that the function answers: a step of Secrets Manager's; an action
// asked for by hand or by a schedule; an event of EventBridge.
type event struct {
	Step               string
	SecretID           string `json:"SecretId"`
	ClientRequestToken string
	RotationToken      string

	Action string // check or preflight

	Source     string   `json:"source"`
	DetailType string   `json:"detail-type"`
	Resources  []string `json:"resources"`
}

// reply is what the function answers to who asks for an action.
type reply struct {
	Result string   `json:"result"`
	Lines  []string `json:"lines,omitempty"`
}

var errTime = errors.New("the function's time is nearly over: does the database answer, and is the function's timeout long enough?")

const labelUpdated = "Secret Label Updated" // of EventBridge

// maxMargin is what is left of an invocation's time for saying that the rest was not enough,
// or a tenth of it: at its end Lambda stops the process without a word.
const maxMargin = 2 * time.Second

// handle answers one event. An error fails the invocation, on which alarms hang.
func (f *function) handle(ctx context.Context, raw json.RawMessage) (*reply, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel func()
		ctx, cancel = context.WithDeadlineCause(ctx, deadline.Add(-min(maxMargin, time.Until(deadline)/10)), errTime)
		defer cancel()
	}
	var e event
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, failure("BadEvent", errors.New("the event is no JSON object of strings"))
	}
	if e.Action == "" && e.DetailType == labelUpdated && e.Source == "aws.secretsmanager" {
		e.Action = "check"
		if e.SecretID == "" && len(e.Resources) > 0 {
			e.SecretID = e.Resources[0]
		}
	}
	if e.SecretID == "" {
		return nil, failure("BadEvent", errors.New("the event names no SecretId"))
	}
	switch {
	case e.Step != "":
		return f.step(ctx, e)
	case e.Action == "check":
		began := time.Now()
		engine, err := f.rotation.Check(ctx, e.SecretID)
		f.measure("ConnectivityCheck", "", engine, time.Since(began), err)
		return f.answer(e, "ConnectivityCheckFailed", nil, err)
	case e.Action == "preflight":
		lines, err := f.rotation.Preflight(ctx, e.SecretID)
		return f.answer(e, "PreflightFailed", lines, err)
	}
	return nil, failure("BadEvent", fmt.Errorf("the event has neither a Step nor an Action of check or preflight"))
}

// step runs a step of a rotation.
func (f *function) step(ctx context.Context, e event) (*reply, error) {
	step, err := rotation.ParseStep(e.Step)
	if err == nil && e.ClientRequestToken == "" {
		err = errors.New("the event names no ClientRequestToken")
	}
	if err != nil {
		return nil, failure("BadEvent", err)
	}
	began := time.Now()
	engine, err := f.rotation.Run(ctx, rotation.Event{Step: step, SecretID: e.SecretID, Token: e.ClientRequestToken, RotationToken: e.RotationToken})
	f.measure("RotationStep", string(step), engine, time.Since(began), err)
	return f.answer(e, "RotationFailed", nil, err)
}

func (f *function) answer(e event, kind string, lines []string, err error) (*reply, error) {
	if err != nil {
		f.rotation.Log.Error("rotation: failed", zap.Bool("audit", true), zap.String("step", e.Step+e.Action), zap.String("secret", e.SecretID),
			zap.String("version", e.ClientRequestToken), zap.Error(err))
		return nil, failure(kind, err)
	}
	return &reply{Result: "ok", Lines: lines}, nil
}

// failure is an error as Lambda shows it, with a type that does not change with our code.
func failure(kind string, err error) error {
	return messages.InvokeResponse_Error{Type: kind, Message: err.Error()}
}

// measure writes how long something took and whether it failed, as one line of CloudWatch's
// Embedded Metric Format, which Lambda's log makes metrics of.
func (f *function) measure(what, step, engine string, took time.Duration, err error) {
	if engine == "" {
		engine = "unknown"
	}
	failures := 0
	if err != nil {
		failures = 1
	}
	line := map[string]any{"Engine": engine, what + "Seconds": took.Seconds(), what + "Failures": failures}
	dimensions := []string{"Engine"}
	if step != "" {
		line["Step"] = step
		dimensions = append(dimensions, "Step")
	}
	line["_aws"] = map[string]any{
		"Timestamp": time.Now().UnixMilli(),
		"CloudWatchMetrics": []any{map[string]any{"Namespace": "credproxy", "Dimensions": []any{dimensions},
			"Metrics": []any{map[string]any{"Name": what + "Seconds", "Unit": "Seconds"}, map[string]any{"Name": what + "Failures", "Unit": "Count"}}}},
	}
	text, _ := json.Marshal(line) // strings and numbers always encode
	_, _ = f.out.Write(append(text, '\n'))
}
