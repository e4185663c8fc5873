import { Migration } from '@mikro-orm/migrations';

export class PaymentParties extends Migration {
  override up(): void {
    // Whether the people of that conversation are told the transfer; those of before were.
    this.addSql('alter table payment_attachments add party boolean not null default true');
  }

  override down(): void {
    this.addSql('alter table payment_attachments drop party');
  }
}
