import { Migration } from '@mikro-orm/migrations';

/** A client message id names one message of its sender in a conversation; see docs/decisions/dedupe.md. */
export class ClientIdsByConversation extends Migration {
  override up(): void {
    // Sender and id come first: ingest asks for the greatest id of a sender by the same index.
    this.addSql(
      'alter table messages add constraint messages_client_id_key unique (sender_id, client_message_id, conversation_id)',
    );
    this.addSql('alter table messages drop constraint messages_sender_id_client_message_id_key');
  }

  override down(): void {
    this.addSql(
      'alter table messages add constraint messages_sender_id_client_message_id_key unique (sender_id, client_message_id)',
    );
    this.addSql('alter table messages drop constraint messages_client_id_key');
  }
}
