# credproxy, once for each secret: a secret of a database, its rotation by the function of
# rotation (or one of AWS's, of rotation-aws), and alerts when a rotation fails. Its value is
# not of this module: first-version writes the first one, the rotation all others.

variable "name" {
  description = "Of the secret, such as prod/orders."
  type        = string
}

variable "kms_key_arn" {
  description = "Key that encrypts the secret. Empty: AWS's own, which other accounts cannot use."
  type        = string
  default     = ""
}

variable "rotation_function_arn" {
  description = "Output of rotation or rotation-aws. Empty: no rotation yet. The secret must have a value, and the database its user."
  type        = string
  default     = ""
}

variable "rotates" {
  description = "Only needed where the function is made in the same run, so that its ARN is not known beforehand."
  type        = bool
  default     = null
}

variable "rotation_schedule" {
  type    = string
  default = "rate(30 days)"
}

variable "rotation_window" {
  description = "A rotation begins within this time."
  type        = string
  default     = "2h"
}

variable "alert_topic_arns" {
  description = "Output of account, in a list, whose length is known even when account is made in the same run. Empty: nobody is told."
  type        = list(string)
  default     = []
}

variable "trail_log_group" {
  description = "Log group that CloudTrail writes management events to. Empty: no CloudWatch alarms."
  type        = string
  default     = ""
}

locals {
  rotates  = var.rotates != null ? var.rotates : var.rotation_function_arn != ""
  tells    = local.rotates && length(var.alert_topic_arns) > 0
  troubles = local.tells && var.trail_log_group != "" ? local.events : {}
  events = { # where rotate_immediately is false a function that fails shows as TestRotationFailed
    RotationFailed    = ["RotationFailed", "TestRotationFailed"]
    RotationAbandoned = ["RotationAbandoned"]
  }
}

resource "aws_secretsmanager_secret" "this" {
  name        = var.name
  description = "Login to a database, for credproxy"
  kms_key_id  = var.kms_key_arn == "" ? null : var.kms_key_arn
}

resource "aws_secretsmanager_secret_rotation" "this" {
  count               = local.rotates ? 1 : 0
  secret_id           = aws_secretsmanager_secret.this.id
  rotation_lambda_arn = var.rotation_function_arn
  rotate_immediately  = false

  rotation_rules {
    schedule_expression = var.rotation_schedule
    duration            = var.rotation_window
  }
}

# One message for each event, at once. Needs a trail in the region, but no log group.
resource "aws_cloudwatch_event_rule" "trouble" {
  count       = local.tells ? 1 : 0
  name_prefix = "credproxy-rotation-trouble-"
  description = "A rotation of ${var.name} failed or was abandoned"
  event_pattern = jsonencode({
    source      = ["aws.secretsmanager"]
    detail-type = ["AWS Service Event via CloudTrail"]
    detail = {
      eventSource         = ["secretsmanager.amazonaws.com"]
      eventName           = flatten(values(local.events))
      additionalEventData = { SecretId = [aws_secretsmanager_secret.this.arn] }
    }
  })
}

resource "aws_cloudwatch_event_target" "trouble" {
  count = local.tells ? length(var.alert_topic_arns) : 0
  rule  = aws_cloudwatch_event_rule.trouble[0].name
  arn   = var.alert_topic_arns[count.index]
}

# Alarms have a state, for dashboards and for who escalates; they need the trail's log group.
resource "aws_cloudwatch_log_metric_filter" "trouble" {
  for_each       = local.troubles
  name           = "credproxy ${each.key} ${var.name}"
  log_group_name = var.trail_log_group
  pattern        = "{ ($.eventSource = \"secretsmanager.amazonaws.com\") && (${join(" || ", [for name in each.value : "($.eventName = \"${name}\")"])}) && ($.additionalEventData.SecretId = \"${aws_secretsmanager_secret.this.arn}\") }"

  metric_transformation {
    namespace = "credproxy"
    name      = "${each.key} ${var.name}"
    value     = "1"
  }
}

resource "aws_cloudwatch_metric_alarm" "trouble" {
  for_each            = local.troubles
  alarm_name          = "credproxy ${each.key} ${var.name}"
  alarm_description   = "See docs/runbook.md, \"${each.key}\"."
  namespace           = "credproxy"
  metric_name         = "${each.key} ${var.name}"
  statistic           = "Sum"
  period              = 3600
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alert_topic_arns
}

output "secret_arn" {
  value = aws_secretsmanager_secret.this.arn
}
